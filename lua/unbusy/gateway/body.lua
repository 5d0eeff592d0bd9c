--- A request's body: read without blocking the worker, and what it must be.
local errors = require "unbusy.gateway.errors"
local json = require "unbusy.json"
local json_fields = require "unbusy.json_fields"
local requests = require "unbusy.requests"

local body = {}

local function too_large(limit)
  return errors.new(413, ("the request is larger than %.0f bytes"):format(limit),
    { code = "request_too_large" })
end

-- What is in it, up to so many bytes. (Lua makes room for as many as it is told to read at once: of
-- what the limit allows it would be gigabytes, or more than it can have.)
local function read_some(file, most)
  local length = file:seek "end"
  file:seek "set"
  return file:read(math.min(length, most)) or ""
end

local warned = false

-- nginx has put the body into a file, since its buffer is smaller. To read it costs the worker the
-- time that the disk takes: who runs it should know.
local function of_file(path, limit)
  local file, message = io.open(path, "rb")
  if not file then
    ngx.log(ngx.ERR, "unbusy: a request's body: ", message)
    return nil, errors.new(500, "the request could not be read")
  end
  local text = read_some(file, limit + 1)
  file:close()
  if not warned then
    warned = true
    ngx.log(ngx.WARN, "unbusy: a body of ", #text, " bytes went by way of a file, and the worker "
      .. "stands still while it is read: set client_body_buffer_size to gateway.body")
  end
  return text
end

--- Reads the body to its end; the worker serves others meanwhile.
---@param headers table of the request
---@param limit integer bytes
---@return string? text, table? refusal
function body.read(headers, limit)
  local length = tonumber(headers["content-length"])
  if length and length > limit then return nil, too_large(limit) end
  ngx.req.read_body()
  local text, refusal = ngx.req.get_body_data(), nil
  if not text then
    local path = ngx.req.get_body_file()
    text = ""
    if path then text, refusal = of_file(path, limit) end
  end
  if text and #text > limit then return nil, too_large(limit) end
  return text, refusal
end

-- JSON, by whatever name; nothing said is JSON too.
local function is_json(kind)
  if kind == nil or kind == "application/json" then return true end
  if type(kind) ~= "string" then return false end
  local name = kind:lower():match "^%s*([^;%s]*)"
  return name == "application/json" or name == "text/json"
    or name:find "^application/[%w.+-]*%+json$" ~= nil
end

--- Is the body said to be what we can read?
---@param headers table
---@return table? refusal
function body.check_type(headers)
  if not is_json(headers["content-type"]) then
    return errors.new(415, "content-type: application/json expected")
  end
  local encoding = headers["content-encoding"]
  if encoding and encoding ~= "identity" then
    return errors.new(415, "content-encoding: a body as it is expected")
  end
end

--- The object that a text is.
---@param text string
---@return table? request, table? refusal, boolean? sound the text may be sent on as it is
function body.decode(text)
  if text == "" then return nil, errors.invalid "the request has no body" end
  local request, message = json.decode(text)
  if request == nil then return nil, errors.invalid("the body is " .. message) end
  if type(request) ~= "table" or request[1] ~= nil or json.is_array(request) then
    return nil, errors.invalid "the body is no JSON object"
  end
  -- What is JSON to the letter is UTF-8, which C finds out sooner.
  local once = json_fields.once(text, requests.once)
  if once == nil and not json.is_utf8(text) then
    return nil, errors.invalid "the body is not UTF-8"
  end
  return request, nil, once
end

return body
