--- Any answer of a server: "STATUS KIND", header lines, a blank line, a body. It is an answer or a
--- failure that keeps to the contract; and what a glance takes for plain is one.
local contract = require "spec.fuzz.contract"
local glance = require "unbusy.glance"
local openai = require "unbusy.providers.openai"

local target = {}

target.words = { "error", "message", "code", "type", "choices", "data", "delta", "finish_reason",
  "usage", "null", "[]", "{}", "1e300", "-1e300", "1e18", "9223372036854775808", "1.5", "429",
  '"server busy"', "insufficient_quota", '"overloaded_error"', "\\u0000", "\\n", "\\u001b", "\255",
  "\195", "系统繁忙", "sk-abcdefgh12345678901234", '{"error":', '{"error":{"message":', "200 chat\n",
  "x-should-retry: true\n", "retry-after: 1\n", "\n", "\n\n", "503 ", "embed", "complete", "post",
  "responses", '"output":[{"type":"message","content":[{"type":"output_text","text":"a"}]}]',
  '"status":"failed"', '"input_tokens":1', '"type":"function_call"', '"summary":[',
  "\226\128\168", "Bearer ", "'", '\\"', "`", "**" }

local kinds = { chat = true, complete = true, embed = true, post = true, responses = true }

--- The first line's number and word, the headers, and the rest.
function target.split(input)
  local status, kind, at = input:match "^(%d%d%d) (%l+)\n()"
  local headers = {}
  if not status then return 200, "chat", headers, input end
  while at do
    local name, value, behind = input:match("^([%w-]+): ?([^\n]*)\n()", at)
    if not name then break end
    headers[name:lower()], at = value, behind
  end
  local body = input:sub(at):gsub("^\n", "")
  return tonumber(status), kind, headers, body
end

-- Does a glance tell the same?
local function check_glance(kind, body, answer)
  local seen = glance.of(kind, body)
  if not seen then return end
  assert(answer, "a failure that looks plain")
  assert(seen.model == answer.model and seen.finish == answer.finish, "another model or end")
  assert((seen.usage == nil) == (answer.usage == nil), "another usage")
  for name, n in next, seen.usage or {} do assert(answer.usage[name] == n, "another usage") end
end

function target.check(input)
  local status, kind, headers, body = target.split(input)
  if not kinds[kind] or status < 200 then return "none" end
  local answer, message, code, detail = openai.read(kind, status, headers, body)
  if status == 200 then check_glance(kind, body, answer) end
  if answer == nil then
    contract.failure(answer, message, code, detail)
    assert(detail.status == status)
    return code .. contract.kind(detail)
  end
  assert(type(answer) == "table", "an answer that is no table")
  assert(answer.text == nil or type(answer.text) == "string")
  assert(answer.tool_calls == nil or #answer.tool_calls > 0)
  for _, n in next, answer.usage or {} do assert(n >= 0 and n == math.floor(n)) end
  return contract.kind(answer)
end

return target
