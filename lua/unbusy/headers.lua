--- Which header lines go through from one side to the other.
--
-- What belongs to one connection, to its framing or to one side's account ends here (RFC 9110
-- 7.6.1): the other side gets its own.
local headers = {}

local function set(words)
  local out = {}
  for word in words:gmatch "%S+" do out[word] = true end
  return out
end

local hop_by_hop = set [[connection keep-alive proxy-connection proxy-authenticate
  proxy-authorization proxy-authentication-info te trailer transfer-encoding upgrade
  http2-settings]]

-- Of requests: what the engine or the target's provider says by itself.
local ours = set "host content-length expect accept-encoding authorization cookie"

-- Of answers. The engine has expanded the body; cookies belong to the account's session.
local theirs = set "set-cookie content-encoding"

-- The names that a Connection header names besides (RFC 9110 7.6.1).
local function add_named(names, value)
  for name in value:gmatch "[^,%s]+" do names[name:lower()] = true end
end

-- A list of { name, value }: out of "name: value" lines, or of name = value or { value, … }.
local function pairs_of(given)
  local out = {}
  for i, line in ipairs(given) do
    local name, value = line:match "^([^:]*):(.*)$"
    if not name then return nil, ("headers: line %d has no colon"):format(i) end
    out[#out + 1] = { name, value }
  end
  local names = {}
  for name in pairs(given) do
    if type(name) == "string" then names[#names + 1] = name end
  end
  table.sort(names)
  for _, name in ipairs(names) do
    local values = given[name]
    for _, value in ipairs(type(values) == "table" and values or { values }) do
      out[#out + 1] = { name, value }
    end
  end
  return out
end

local function all_strings(list)
  for _, value in ipairs(list) do
    if type(value) ~= "string" then return false end
  end
  return true
end

--- Is it a list of lines or a map of strings (or lists of them)? The bytes are not looked at.
---@param given table
function headers.is_readable(given)
  local lines = 0
  for name, value in pairs(given) do
    if type(name) == "number" then
      lines = lines + 1
      if type(value) ~= "string" or given[lines] == nil then return false end -- no holes
    elseif type(name) ~= "string" then
      return false
    elseif type(value) ~= "string" and not (type(value) == "table" and all_strings(value)) then
      return false
    end
  end
  return true
end

-- Without the blanks around it. (In two steps: one pattern would look anew from each blank, and a
-- stranger may send thousands.)
local function trimmed(text)
  return text:match("^.*[^ \t]", text:match "^[ \t]*()") or ""
end

-- A pair as one line that cannot become two, or another one; or what is wrong with it.
local function checked(pair)
  local name, value = pair[1], trimmed(pair[2])
  if not name:find "^[%w!#$%%&'*+.^_`|~-]+$" then return nil, "headers: a name that is no token" end
  if value:find "[%z\1-\8\10-\31\127]" then
    return nil, ("headers: '%s': a control character"):format(name:sub(1, 40))
  end
  return { name = name:lower(), value = value,
    line = value == "" and name .. ";" or name .. ": " .. value } -- ";": how libcurl sends none
end

--- Reads header lines of a request that are to be passed on. What is not passed on is left out:
--- see the top of this file. `traceparent` and `tracestate` stand apart (see `unbusy.trace`).
---@param given table for which `is_readable`
---@return table? list { { name = in lower case, value =, line = }, … }, `traceparent`,
--- `tracestate`; string? message
function headers.of_request(given)
  local list, wrong = pairs_of(given)
  if not list then return nil, wrong end
  local named, out, special = {}, {}, { traceparent = {}, tracestate = {} }
  for i, pair in ipairs(list) do
    list[i], wrong = checked(pair)
    if not list[i] then return nil, wrong end
    if list[i].name == "connection" then add_named(named, list[i].value) end
  end
  for _, h in ipairs(list) do
    if special[h.name] then
      table.insert(special[h.name], h.value)
    elseif not (hop_by_hop[h.name] or ours[h.name] or named[h.name]) then
      out[#out + 1] = h
    end
  end
  for name, values in pairs(special) do -- two traceparents are none that could be read
    if values[1] then out[name] = table.concat(values, ",") end
  end
  return out
end

--- Headers that name one request; whatever they say, the answer is the same.
headers.of_one_request = { ["x-request-id"] = true, ["x-client-request-id"] = true,
  ["idempotency-key"] = true }

--- Is one of them the name of a single request?
---@param list table of `headers.of_request`
function headers.names_one_request(list)
  for _, h in ipairs(list) do
    if headers.of_one_request[h.name] then return true end
  end
  return false
end

--- Those that may change the answer (an organisation's, a language), sorted; false for none.
---@param list table of `headers.of_request`
---@return string[]|false
function headers.asked_with(list)
  local out = {}
  for _, h in ipairs(list) do
    if not headers.of_one_request[h.name] then out[#out + 1] = h.name .. ":" .. h.value end
  end
  table.sort(out)
  return out[1] and out or false
end

--- Is a header of an answer of one connection, or of the account, so that it ends here?
---@param name string in lower case
---@return boolean
function headers.ends_here(name)
  return (hop_by_hop[name] or theirs[name]) == true
end

--- The headers of an answer that are passed on. The length of a body that was expanded on the way
--- is not what its header says.
---@param given table lower-case name -> value
---@return table
function headers.of_answer(given)
  local named, out = {}, {}
  if given.connection then add_named(named, given.connection) end
  if given["content-encoding"] then named["content-length"] = true end
  for name, value in pairs(given) do
    if not (hop_by_hop[name] or theirs[name] or named[name]) then out[name] = value end
  end
  return out
end

return headers
