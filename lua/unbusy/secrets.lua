--- Keeps keys and secret header values out of what others may read.
--
--     local secrets = secrets.new { "sk-1234" }
--     secrets.hide "wrong key sk-1234"             -- "wrong key ***"
--     secrets.hide_headers { ["x-echo"] = "sk-1234" }
--
-- A server may repeat what it was sent: as it is, as JSON or a URL writes it, in base64, or cut
-- off at the end of its message. The secrets live in the functions: no table shows them.
local core = require "unbusy.core"

local secrets = {}

local SHORT = 4 -- bytes; a secret under it is hidden only where it stands alone
local TAIL = 5  -- bytes of a secret's beginning that are not left at a message's end

-- {== Forms ===============================================================

local function json_form(s)
  return (s:gsub('[\\"]', "\\%0"))
end

-- What encoders leave as it is: RFC 3986 2.3, JavaScript's encodeURIComponent, the most careful.
local unescaped = { "[^%w._~-]", "[^%w._~!'()*-]", "%W" }

local function url_form(s, escaped, format)
  return (s:gsub(escaped, function(c) return format:format(c:byte()) end))
end

local DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

-- What base64 (RFC 4648) makes of `s` when `shift` bytes (0 to 2) stand before it, without the
-- digits that also depend on its neighbours.
local function base64_form(s, shift)
  local padded, out = ("\0"):rep(shift) .. s, {}
  for i = 1, #padded - 2, 3 do
    local a, b, c = padded:byte(i, i + 2)
    local n = a * 65536 + b * 256 + c
    for power = 3, 0, -1 do
      local digit = math.floor(n / 64 ^ power) % 64 + 1
      out[#out + 1] = DIGITS:sub(digit, digit)
    end
  end
  return table.concat(out):sub(shift == 0 and 1 or shift + 2)
end

local function add_forms(add, s)
  add(s)
  add(json_form(s))
  add((json_form(s):gsub("/", "\\/")))
  for _, escaped in ipairs(unescaped) do
    add(url_form(s, escaped, "%%%02X"))
    add(url_form(s, escaped, "%%%02x"))
  end
  for shift = 0, 2 do
    local form = base64_form(s, shift)
    if #form >= 8 then
      add(form)
      add((form:gsub("[+/]", { ["+"] = "-", ["/"] = "_" })))
    end
  end
end

-- Every form of every secret once, the longest first: one may be a part of another.
local function forms_of(list)
  local forms, seen = {}, {}
  local function add(form)
    if form ~= "" and not seen[form] then
      seen[form] = true
      forms[#forms + 1] = form
    end
  end
  for _, s in ipairs(list) do add_forms(add, s) end
  table.sort(forms, function(a, b) return #a > #b or #a == #b and a < b end)
  return forms
end

-- }========================================================================

-- {== Hiding ==============================================================

local function stands_alone(text, first, last)
  return not text:find("^%w", last + 1) and not (first > 1 and text:find("^%w", first - 1))
end

local function replace(text, form)
  local out, from = {}, 1
  local first, last = text:find(form, 1, true)
  while first do
    local hidden = #form >= SHORT or stands_alone(text, first, last)
    out[#out + 1] = text:sub(from, first - 1) .. (hidden and "***" or form)
    from = last + 1
    first, last = text:find(form, from, true)
  end
  return from == 1 and text or table.concat(out) .. text:sub(from)
end

local dots = { "...", "\226\128\166" } -- what stands where a text was cut off

-- A form that was cut off by the end of the text.
local function replace_tail(text, form)
  local head, stop = form:sub(1, TAIL), #text
  if #form <= TAIL then return text end
  for _, mark in ipairs(dots) do
    if text:sub(-#mark) == mark then stop = #text - #mark end
  end
  local at = text:find(head, math.max(stop - #form + 1, 1), true)
  while at do
    local rest = text:sub(at, stop)
    if #rest >= TAIL and rest == form:sub(1, #rest) then
      return text:sub(1, at - 1) .. "***" .. text:sub(stop + 1)
    end
    at = text:find(head, at + 1, true)
  end
  return text
end

local function hide_all(hide, texts)
  for name, text in pairs(texts) do texts[name] = hide(text) end
end

--- What hides the secrets of `list`, strings.
---@param list string[]
---@return table secrets `hide(text) -> text` for messages, `hide_headers(headers)` in place, and
--- `known`, of `core.secrets`, by which an engine tells whether a header needs it
function secrets.new(list)
  local forms = forms_of(list)
  local function hide(text)
    for _, form in ipairs(forms) do text = replace(text, form) end
    for _, form in ipairs(forms) do text = replace_tail(text, form) end
    return text
  end
  local known = core.secrets(forms) -- most answers repeat none: that is found out in C
  local function hide_headers(headers)
    if known:found(headers) then hide_all(hide, headers) end
  end
  return { hide = hide, hide_headers = hide_headers, known = known }
end

-- }========================================================================

local PART = 8 -- bytes of a header value's word that may be the secret by itself: "Bearer …"

--- The secrets of a target: its keys, its own header values, what its proxy's URL holds.
---@param target table checked options
---@return string[]
function secrets.of_target(target)
  local list = {}
  local function add(s) list[#list + 1] = s end
  for _, key in ipairs(target.keys) do add(key) end
  for _, value in pairs(target.headers) do
    if #value >= SHORT then add(value) end
    for word in value:gmatch "%S+" do
      if #word >= PART then add(word) end
    end
  end
  local user = target.proxy and target.proxy:match "^%a[%w+.-]*://(.*)@" or target.proxy
    and target.proxy:match "^(.*)@"
  if user then
    add(user)
    add((user:gsub("^[^:]*:", "")))
  end
  return list
end

return secrets
