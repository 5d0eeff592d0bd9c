-- Under lua-openai the path of a request began with the last word of OpenAI's API that stood in its
-- URL. DELETE /v1/vector_stores/vs_1/files/file-9, which takes a file out of a store, became DELETE
-- /v1/files/file-9 at the targets, which deletes it for good; and each store was a server of its
-- own, with a client and a breaker. A header whose value is a number was left out.
local asked = require "unbusy.lua_openai.asked"
local lua_openai = require "unbusy.lua_openai"

local function split(method, url)
  local r = assert(asked.read { method = method, url = url })
  return { r.base, r.path }
end

describe("what lua-openai asks for", function()
  it("begins behind the version, whatever words of the API follow", function()
    for _, path in ipairs { "/files/file-9", "/vector_stores/vs_1/files/file-9",
      "/vector_stores/vs_1/file_batches/b/files?limit=2", "/models/embeddings",
      "/containers/c/files/f", "/chat/completions/id/messages", "/threads/t/messages",
      "/models/mine/chat" } do
      for _, base in ipairs { "https://x/v1", "https://x", "https://x/models/mine/v1",
        "https://x/v1/accounts/1/v2" } do
        assert.same({ base, path }, split("DELETE", base .. path))
      end
    end
    assert.same({ "https://x/v1", "/vector_stores/vs_1/files" },
      split("POST", "https://x/v1/vector_stores/vs_1/files"))
  end)

  it("is a call where it ends as one, below a base URL with such words, too", function()
    for _, path in ipairs { "/chat/completions", "/completions", "/embeddings", "/responses",
      "/chat/completions?version=1" } do
      for _, base in ipairs { "https://x/v1", "https://x", "https://x/models/mine",
        "https://x/openai/deployments/embeddings", "https://x/v1/models/mine/v1" } do
        assert.same({ base, path }, split("POST", base .. path))
      end
    end
  end)

  it("reaches the targets whole, its headers with it", function()
    local seen
    local client = { pass = function(_, request)
      seen = request
      return nil, "nobody", "invalid", {}
    end }
    lua_openai.new(client).request { method = "DELETE",
      url = "https://x/v1/vector_stores/vs_1/files/file-9",
      headers = { Authorization = "Bearer x", ["X-Count"] = 3 } }
    assert.same({ method = "DELETE", path = "/vector_stores/vs_1/files/file-9",
      headers = { ["X-Count"] = "3" } }, seen)
  end)
end)
