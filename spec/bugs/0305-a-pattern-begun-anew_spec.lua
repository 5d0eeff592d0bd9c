-- SGLang takes a pattern or a grammar for its answers as `regex`, `ebnf` or `structural_tag`,
-- beside the messages (docs.sglang.io, "Structured Outputs"). An answer to such a request that
-- broke off was gone on with, and the server began the pattern anew in the middle of it: of
-- "(Paris|London)" came "PaParis".
local resumed = require "spec.support.resumed"

describe("an answer under one of SGLang's grammars", function()
  for _, name in ipairs { "regex", "ebnf", "structural_tag" } do
    it("is not gone on with: " .. name, function()
      local w = resumed.build { servers = { a = { cuts = { resumed.DONE } } },
        targets = { a = { prefix = "continue" } } }
      local stream = assert(w.client:stream(resumed.question { [name] = "(Paris|London)" }))
      local _, _, code = resumed.drain(stream)
      assert.same({ "cut", 1 }, { code, #w.log })
      resumed.finish(w)
    end)
  end
end)
