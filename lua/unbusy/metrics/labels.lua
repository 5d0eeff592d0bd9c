--- The labels of series: what they may say, and how a series' key is written.
--
-- A label has one of a bounded set of values: names out of the configuration, codes, statuses of
-- HTTP. A model's name comes from whoever asks; it is told as it is where the configuration has it,
-- or a target has answered under that name (and then up to a bound), and else as "other".
local codes = require "unbusy.codes"
local json = require "unbusy.json"

local labels = {}

--- Stands for all that have no series of their own.
labels.OTHER = "other"

local escapes = { ["\\"] = "\\\\", ['"'] = '\\"', ["\n"] = "\\n" }

local LONGEST = 100 -- bytes of a value

local function escape(text)
  if #text > LONGEST then -- characters stay whole
    text = text:sub(1, LONGEST):gsub("[\192-\255][\128-\191]*$", "")
  end
  text = text:gsub("[%z\1-\9\11-\31\127]", "?")
  if text:find "[\128-\255]" and not json.is_utf8(text) then
    text = text:gsub("[\128-\255]+", "?")
  end
  return (text:gsub('[\\"\n]', escapes))
end

-- The same few values come again and again.
local seen, count = {}, 0
local MOST = 5000

--- A value as it may stand in a label: of a long one the beginning, of what is no UTF-8 the plain
--- characters.
---@param text string
---@return string
function labels.escaped(text)
  local found = seen[text]
  if found then return found end
  found = escape(text)
  if count >= MOST then seen, count = {}, 0 end
  seen[text], count = found, count + 1
  return found
end

--- The key of a series.
---@param family table see `unbusy.metrics.families`
---@param values string[]? one for each of its labels; none: all are "other"
---@return string
function labels.key(family, values)
  local names = family.labels
  if not names[1] then return family.name end
  local parts = { family.name }
  for i = 1, #names do
    local n = 4 * i - 2
    parts[n], parts[n + 1] = i == 1 and "{" or ",", names[i]
    parts[n + 2], parts[n + 3] = '="', labels.escaped(values and values[i] or labels.OTHER) .. '"'
  end
  parts[#parts + 1] = "}"
  return table.concat(parts)
end

--- Writes the keys of many series of a family that has two labels at most.
---@param family table
---@return fun(a: string?, b: string?): string key
function labels.keys(family)
  local first, second = family.labels[1], family.labels[2]
  if not first then return function() return family.name end end
  first = ('%s{%s="'):format(family.name, first)
  if not second then return function(a) return first .. labels.escaped(a) .. '"}' end end
  second = ('",%s="'):format(second)
  return function(a, b)
    return first .. labels.escaped(a) .. second .. labels.escaped(b) .. '"}'
  end
end

-- {== Codes and statuses ==================================================

--- A code as a label: "" for none.
---@param code string?
function labels.code(code)
  if not code or code == "" then return "" end
  return codes[code] and code or labels.OTHER
end

local statuses = {}
for word in ([[100 101 103 200 201 202 203 204 205 206 207 208 226 300 301 302 303 304 305 307 308
  400 401 402 403 404 405 406 407 408 409 410 411 412 413 414 415 416 417 418 421 422 423 424 425
  426 428 429 431 451 499 500 501 502 503 504 505 506 507 508 510 511 520 521 522 523 524 525 526
  527 529 530 598 599]]):gmatch "%d+" do
  statuses[tonumber(word)] = word
end

--- A status as a label: "none" where no answer came.
---@param status integer?
function labels.status(status)
  if not status then return "none" end
  return statuses[status] or labels.OTHER
end

-- }========================================================================

-- {== Models ==============================================================

local models = {}
models.__index = models

--- The models that are told apart.
---@param targets table[] see `unbusy.target`
---@param most integer of those that the configuration does not name
function labels.models(targets, most)
  local self = setmetatable({ known = { [""] = "" }, most = most, count = 0 }, models)
  for _, t in ipairs(targets) do
    for asked, here in pairs(t.models) do
      if asked ~= "*" and asked ~= "default" then self.known[asked] = asked end
      self.known[here] = here
    end
  end
  return self
end

-- Names that providers give to models.
local function is_plain(name)
  return #name <= 64 and name:find "^[%w._:/@+-]+$" ~= nil
end

--- A model as a label.
---@param name string?
---@param answered boolean has a target answered under that name?
---@return string
function models:label(name, answered)
  local known = self.known[name or ""]
  if known then return known end
  if not answered or self.count >= self.most or not is_plain(name) then return labels.OTHER end
  self.known[name], self.count = name, self.count + 1
  return name
end

-- }========================================================================

return labels
