--- Which calls belong together: a number that is the same for all of them.
--
-- A provider keeps what it has made of the beginning of a prompt, per account, and takes a small
-- part of the price for what it finds there again. So calls that begin alike go where the first one
-- went. The number is made in C from the pieces (`core.key_hash`): no prompt becomes a new string.
-- It is the same in every process, and on other machines.
local core = require "unbusy.core"

local sticky = {}

local MOST = 4096 -- bytes of each text that count: a prefix of a prefix is one too

-- The user's word, or what stands for it.
local function user_of(request)
  local user = request.user
  if type(user) ~= "string" then user = request.safety_identifier end
  return type(user) == "string" and user ~= "" and user or nil
end

-- What a text or a list of parts is, for the hash.
local function piece(value)
  if value == nil then return false end
  return value
end

local unpack = table.unpack or unpack -- luacheck: ignore

-- Of a conversation of which nobody can tell how it goes on: all up to the first words of the user.
local function of_messages(call, messages)
  local model, request = call.model or false, call.request
  local tools, told = piece(request.tools), piece(request.instructions)
  local first, second = messages[1], messages[2]
  if type(first) ~= "table" then return nil end
  if first.role == "user" then
    return core.key_hash(MOST, model, tools, told, piece(first.role), piece(first.content))
  end
  if type(second) == "table" and second.role == "user" then
    return core.key_hash(MOST, model, tools, told, piece(first.role), piece(first.content),
      piece(second.role), piece(second.content))
  end
  local pieces = { model, tools, told }
  for i = 1, math.min(#messages, 16) do
    local m = messages[i]
    if type(m) ~= "table" then break end
    pieces[#pieces + 1], pieces[#pieces + 2] = piece(m.role), piece(m.content)
    if m.role == "user" then break end
  end
  return core.key_hash(MOST, unpack(pieces))
end

local by_kind = {
  chat = function(call, request)
    return type(request.messages) == "table" and of_messages(call, request.messages) or nil
  end,
  complete = function(call, request)
    return core.key_hash(MOST, call.model or false, piece(request.prompt))
  end,
  responses = function(call, request)
    local input = request.input
    if type(input) == "table" then return of_messages(call, input) end
    return core.key_hash(MOST, call.model or false, piece(request.instructions), piece(input))
  end,
}

--- The number of the calls that this one belongs to; nil where it belongs to none.
---@param call table
---@param how "prefix"|"user"
---@return integer? key
function sticky.key(call, how)
  local request = call.request
  if type(request) ~= "table" then return nil end
  if how == "user" then
    local user = user_of(request)
    return user and core.key_hash(MOST, user) or nil
  end
  local of = by_kind[call.kind]
  return of and (of(call, request)) or nil
end

return sticky
