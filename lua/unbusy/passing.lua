--- What may be passed on: methods and paths of requests that others have made up.
local passing = {}

--- Methods that may be sent again though a server has perhaps seen them (RFC 9110 9.2.2).
passing.idempotent = { GET = true, HEAD = true, PUT = true, DELETE = true, OPTIONS = true }

local methods = { POST = true, PATCH = true }
for name in pairs(passing.idempotent) do methods[name] = true end

local with_body = { POST = true, PUT = true, PATCH = true }

--- The body that is sent: some methods always have one, if only an empty one.
---@param method string
---@param body string?
---@return string?
function passing.body(method, body)
  if body == "" or body == nil then return with_body[method] and "" or nil end
  return body
end

local function unescaped(text)
  return (text:gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end))
end

-- Does it lead up, in whatever way it is written? Some servers take "..;x" for "..": what is behind
-- the semicolon is a parameter of the segment.
local function has_dots(path)
  for segment in path:gmatch "[^/]+" do
    if segment:find "^%.%.?$" or segment:find "^%.%.?;" then return true end
  end
  return false
end

--- What is wrong with a path (and its query), which must stay below the target's URL; nil when it
--- is sound.
---@param path string
---@return string?
function passing.path_fault(path)
  if not path:find "^/" or path:find "^//" then return "path: one / in front expected" end
  if path:find "[%z\1-\32\127-\255\\#]" then return "path: a character that must be escaped" end
  local plain = unescaped(path:match "^[^?]*")
  if plain:find "[%z\1-\31\127\\]" then return "path: a control character or a backslash" end
  if has_dots(plain) then return "path: a segment of dots" end
end

--- What is wrong with a request to be passed on; nil when it is sound.
---@param method string
---@param path string
---@param body string?
---@return string?
function passing.fault(method, path, body)
  if not methods[method] then
    return "method: GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS expected"
  end
  if method == "HEAD" and passing.body(method, body) then return "body: none expected with HEAD" end
  return passing.path_fault(path)
end

return passing
