-- FastAPI's servers (vLLM, llama-cpp-python, Mistral's) say in a list what is wrong with a request,
-- and axum's (TGI; DeepSeek's did) in plain text. Neither was told: "422 unprocessable content".
local json = require "unbusy.json"
local openai = require "unbusy.providers.openai"

local function refused(body, kind, hide)
  local text = type(body) == "string" and body or json.encode(body)
  local _, message, code = openai.read("chat", 422, { ["content-type"] = kind }, text, hide)
  assert.equal("invalid", code)
  return message:match "^422 unprocessable content:? ?(.*)$"
end

describe("what is wrong with a request is told", function()
  local role = { type = "missing", loc = { "body", "messages", 0, "role" }, msg = "Field required",
    input = { content = "the prompt" } }
  local stray = { loc = { "body", "x" }, msg = "Extra inputs are not permitted" }

  it("out of a list", function()
    local both = "messages.0.role: Field required; x: Extra inputs are not permitted"
    for _, body in ipairs { { detail = { role, stray } }, { error = { message = { detail = {
      role, stray } } } }, { object = "error", message = { detail = { role, stray } } } } do
      assert.equal(both, refused(body, "application/json"))
    end
    for _, odd in ipairs { json.array {}, { 1 }, { { msg = {} } }, { { loc = {} } }, { {} }, true,
      { detail = 1 }, { a = 1 } } do
      assert.equal("", refused({ detail = odd }, "application/json"))
    end
    assert.equal("m", refused({ detail = { { msg = "m", loc = "body" } } }, nil))
    assert.equal("m", refused({ detail = { { msg = "m", loc = { "body", json.null } } } }, nil))
    local many = {}
    for i = 1, 1000 do many[i] = { msg = "m" } end
    assert.equal(("m; "):rep(8):sub(1, -3), refused({ detail = many }, nil))
  end)

  it("out of plain text, without secrets", function()
    local text = "Failed to deserialize the JSON body: messages[0]: missing field `role`\n"
    for _, kind in ipairs { "text/plain", "text/plain; charset=utf-8", "Text/Plain;a" } do
      assert.equal("Failed to deserialize the JSON body: messages[0]: missing field `role`",
        refused(text, kind))
    end
    for _, kind in ipairs { "text/html", "text/plain-x", "application/json", false } do
      assert.equal("", refused(text, kind or nil))
    end
    assert.equal("", refused("", "text/plain"))
    local long = ("a "):rep(99) .. "my secret"
    assert.equal(("a "):rep(99) .. "my…", refused(long, "text/plain"))
    assert.equal(("a "):rep(99) .. "HI…", refused(long, "text/plain",
      function(words) return (words:gsub("my secret", "HIDDEN")) end))
    local _, message, code = openai.read("chat", 503, { ["content-type"] = "text/plain" },
      "no healthy upstream")
    assert.same({ "503 service overloaded: no healthy upstream", "busy" }, { message, code })
    local _, moved = openai.read("chat", 302, { ["content-type"] = "text/plain" }, "Found")
    assert.equal("302 redirected, not followed", moved)
  end)
end)
