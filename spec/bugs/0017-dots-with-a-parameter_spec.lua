-- A path that is passed on led up where a server takes "..;x" for "..", as Java's do.
local passing = require "unbusy.passing"

describe("a path that is passed on", function()
  it("has no segment of dots, with parameters or without", function()
    for _, path in ipairs { "/..;/x", "/a/..;b=c/x", "/a/.;/x", "/a/%2e%2e;/x", "/a/..%3b/x",
      "/a/..;" } do
      assert.equal("path: a segment of dots", passing.path_fault(path))
    end
    for _, path in ipairs { "/a;..", "/a..;b/c", "/...;/x", "/x?p=..;/" } do
      assert.is_nil(passing.path_fault(path))
    end
  end)
end)
