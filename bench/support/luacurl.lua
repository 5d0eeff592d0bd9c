--- Debian's lua-curl (LuaCURL 0.3, of Lua 5.1's kind): libcurl's easy interface, as it is used from
--- Lua: one kept handle, whose pieces of an answer are called back and gathered in a table. False
--- where it is not there, as on Lua 5.4. (Lua-cURLv3 is not packaged by Debian.)
local found, curl = pcall(require, "curl")
if not found or type(curl) ~= "table" or not curl.easy_init then return false end

---@param url string
---@param headers string[] lines
---@param body string
---@return fun(n: integer) calls makes n calls, one after the other; raises when one fails
return function(url, headers, body)
  local easy, head, data = curl.easy_init(), nil, nil
  local function keep(list, piece)
    list[#list + 1] = piece
    return #piece
  end
  easy:setopt(curl.OPT_URL, url)
  easy:setopt(curl.OPT_HTTPHEADER, headers)
  easy:setopt(curl.OPT_NOSIGNAL, 1)
  easy:setopt(curl.OPT_HEADERFUNCTION, function(piece) return keep(head, piece) end)
  easy:setopt(curl.OPT_WRITEFUNCTION, function(piece) return keep(data, piece) end)
  return function(n)
    for _ = 1, n do
      head, data = {}, {}
      easy:setopt(curl.OPT_POSTFIELDS, body)
      assert(easy:perform() == 0, "LuaCURL: a call failed")
      assert(#table.concat(data) > 0, "LuaCURL: no answer")
    end
  end
end
