--- The names that a script uses and that are no local variables, found without running it.
--
--     local found = names.of(text)
--     for _, use in ipairs(found.globals) do print(use.line, use.name, use.field) end
--
-- A walk over the grammar of Lua that knows scopes and nothing else: an expression is a row of
-- operands, whatever the operators between them. The text is one that Lua has compiled.
local tokens = require "unbusy.policy.tokens"

local names = {}

local walk = {}
walk.__index = walk

-- {== Reading =============================================================

local function peek(self, ahead)
  return self.list[self.at + (ahead or 0)] or self.list[#self.list]
end

local function is(self, word)
  return peek(self).text == word -- a string's has its quotes
end

local function take(self)
  local token = peek(self)
  self.at = self.at + 1
  return token
end

local function skip(self, word)
  if not is(self, word) then return false end
  self.at = self.at + 1
  return true
end

-- }========================================================================

-- {== Scopes ==============================================================

local function open(self)
  self.scopes[#self.scopes + 1] = {}
end

local function close(self)
  for _, name in ipairs(table.remove(self.scopes)) do self.active[name] = self.active[name] - 1 end
end

local function declare(self, name)
  local scope = self.scopes[#self.scopes]
  scope[#scope + 1] = name
  self.active[name] = (self.active[name] or 0) + 1
end

-- A name is used: what was noted of it, where it is no local variable.
local function use(self, token)
  if (self.active[token.text] or 0) > 0 then return nil end
  local noted = { name = token.text, line = token.line }
  self.globals[#self.globals + 1] = noted
  return noted
end

-- }========================================================================

-- {== Expressions =========================================================

local expression, block

local function expressions(self)
  repeat expression(self) until not skip(self, ",")
end

local function note_field(self, token)
  self.fields[token.value or token.text] = token.line
end

local function body(self, has_self)
  open(self)
  if has_self then declare(self, "self") end
  skip(self, "(")
  while not skip(self, ")") do
    local token = take(self)
    if token.kind == "name" then declare(self, token.text) end
  end
  block(self)
  close(self)
  skip(self, "end")
end

local function constructor(self)
  skip(self, "{")
  while not skip(self, "}") do
    local token, behind = peek(self), peek(self, 1)
    if token.kind == "name" and behind.text == "=" then
      note_field(self, token)
      self.at = self.at + 2
    elseif skip(self, "[") then
      if peek(self).value and peek(self, 1).text == "]" then note_field(self, peek(self)) end
      expression(self)
      skip(self, "]")
      skip(self, "=")
    end
    expression(self)
    if not skip(self, ",") then skip(self, ";") end
  end
end

local function arguments(self)
  if is(self, "{") then return constructor(self) end
  if peek(self).kind == "string" then return take(self) end
  skip(self, "(")
  if not is(self, ")") then expressions(self) end
  skip(self, ")")
end

local function calls(self)
  return is(self, "(") or is(self, "{") or peek(self).kind == "string"
end

-- One more step from what stands before: an index, a method or a call. Gives the token of a
-- constant index, or true; nothing where there is no more step.
local function step(self)
  if skip(self, ".") then return take(self) end
  if skip(self, "[") then
    local constant = peek(self).value and peek(self, 1).text == "]" and peek(self)
    expression(self)
    skip(self, "]")
    return constant or true
  elseif is(self, ":") then
    self.at = self.at + 2
    arguments(self)
    return true
  elseif calls(self) then
    arguments(self)
    return true
  end
end

-- A string itself, in brackets: what is asked of it is asked of the program's own strings.
local function is_text(self)
  return peek(self).kind == "string" and peek(self, 1).text == ")"
end

local function note_method(self)
  local token = peek(self, 1)
  if (is(self, ".") or is(self, ":")) and token.kind == "name" then
    self.methods[#self.methods + 1] = { name = token.text, line = token.line }
  end
end

-- A name, or an expression in brackets, and all its steps. Gives what was noted of a global that
-- stands alone or with one constant index, and the token of the last index.
local function operand(self)
  local noted, last
  if skip(self, "(") then
    local text = is_text(self)
    expression(self)
    skip(self, ")")
    if text then note_method(self) end
  else
    noted = use(self, take(self))
  end
  local index, steps = step(self), 0
  if noted and type(index) == "table" then noted.field = index.value or index.text end
  while index do
    steps, last = steps + 1, type(index) == "table" and index or nil
    index = step(self)
  end
  local is_it = noted and (steps == 0 or steps == 1 and noted.field)
  return is_it and noted or nil, last
end

local unary = { ["not"] = true, ["-"] = true, ["#"] = true, ["~"] = true }

local binary = {}
for word in ("+ - * / // % ^ .. == ~= < > <= >= and or & | ~ << >>"):gmatch "%S+" do
  binary[word] = true
end

local function one(self)
  local token = peek(self)
  while unary[token.text] do
    self.at = self.at + 1
    token = peek(self)
  end
  if token.kind == "name" or is(self, "(") then return operand(self) end
  if is(self, "{") then return constructor(self) end
  self.at = self.at + 1
  if token.text == "function" then body(self) end
end

function expression(self)
  repeat
    one(self)
    local more = binary[peek(self).text]
    if more then self.at = self.at + 1 end
  until not more
end

-- }========================================================================

-- {== Statements ==========================================================

local statements = {}

local function scoped(self)
  open(self)
  block(self)
  close(self)
end

function statements.IF(self)
  repeat -- also behind elseif
    expression(self)
    skip(self, "then")
    scoped(self)
  until not skip(self, "elseif")
  if skip(self, "else") then scoped(self) end
  skip(self, "end")
end

function statements.WHILE(self)
  expression(self)
  skip(self, "do")
  scoped(self)
  skip(self, "end")
end

function statements.DO(self)
  scoped(self)
  skip(self, "end")
end

function statements.FOR(self)
  local declared = {}
  repeat declared[#declared + 1] = take(self).text until not skip(self, ",")
  if not skip(self, "=") then skip(self, "in") end
  expressions(self)
  skip(self, "do")
  open(self)
  for _, name in ipairs(declared) do declare(self, name) end
  block(self)
  close(self)
  skip(self, "end")
end

-- What stands in the loop is seen by its end.
function statements.REPEAT(self)
  open(self)
  block(self)
  skip(self, "until")
  expression(self)
  close(self)
end

function statements.FUNCTION(self)
  local noted, last, has_self = use(self, take(self)), nil, false
  while is(self, ".") or is(self, ":") do
    has_self = take(self).text == ":"
    if last then noted = nil end
    last = take(self)
    if noted then noted.field = last.text end
  end
  if last then note_field(self, last) end
  if noted then noted.set = true end
  body(self, has_self)
end

function statements.LOCAL(self)
  if skip(self, "function") then
    declare(self, take(self).text)
    return body(self)
  end
  local declared = {}
  repeat
    declared[#declared + 1] = take(self).text
    if skip(self, "<") then
      take(self)
      skip(self, ">")
    end
  until not skip(self, ",")
  if skip(self, "=") then expressions(self) end
  for _, name in ipairs(declared) do declare(self, name) end
end

function statements.RETURN(self)
  local token = peek(self)
  local ends = token.kind == "end" or token.text == ";" or token.text == "end"
    or token.text == "else" or token.text == "elseif" or token.text == "until"
  if not ends then expressions(self) end
end

function statements.BREAK() end

-- An assignment, or a call.
local function plain(self)
  local set, fields = {}, {}
  repeat
    local noted, last = operand(self)
    set[#set + 1], fields[#fields + 1] = noted, last
  until not skip(self, ",")
  if not skip(self, "=") then return end
  for _, noted in ipairs(set) do noted.set = true end
  for _, token in ipairs(fields) do note_field(self, token) end
  expressions(self)
end

local function statement(self)
  local token = peek(self)
  if token.kind == "keyword" and statements[token.text:upper()] then
    self.at = self.at + 1
    statements[token.text:upper()](self)
  elseif skip(self, "::") then
    self.at = self.at + 2
  elseif token.text == "goto" and peek(self, 1).kind == "name" then
    self.at = self.at + 2
  elseif not skip(self, ";") then
    plain(self)
  end
end

local closers = { ["end"] = true, ["else"] = true, ["elseif"] = true, ["until"] = true }

function block(self)
  while true do
    local token = peek(self)
    if token.kind == "end" or closers[token.text] then return end
    statement(self)
  end
end

-- }========================================================================

--- What a text uses and sets.
---@param text string that Lua compiles
---@return table found { globals = { { name =, field = of a constant index, set = is it (or that
--- field) assigned to, line = }, … }, fields = { name = line where a field of that name was last
--- given }, methods = of strings that stand there themselves: { { name =, line = }, … }, tokens =
--- see `tokens.of` }
function names.of(text)
  local self = setmetatable({ list = tokens.of(text), at = 1, scopes = {}, active = {},
    globals = {}, fields = {}, methods = {} }, walk)
  scoped(self)
  return { globals = self.globals, fields = self.fields, methods = self.methods,
    tokens = self.list }
end

return names
