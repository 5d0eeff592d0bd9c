-- A configuration's path kept its ".." where two of them followed each other, or behind a folder
-- with a dot before its name: `unbusy cache --config gw.lua` did not find the gateway that was
-- started with b/x/../../gw.lua, for its region is named after that path. And behind a symbolic
-- link "link/.." became the folder of the link, where the system takes the one it leads to.
local files = require "spec.support.files"
local shell = require "unbusy.cli.shell"

describe("a path from the root on", function()
  it("has no dots in it, and a link only where no '..' follows", function()
    local dir = files.trimmed 'realpath "$(mktemp -d "${TMPDIR:-/tmp}/absolute.XXXXXX")"'
    os.execute(("mkdir -p '%s/a b/c' '%s/.h' && ln -s 'a b/c' '%s/link'"):format(dir, dir, dir))
    for given, expected in pairs {
      ["/gw.lua"] = "/gw.lua", ["/a b/c/../../gw.lua"] = "/gw.lua", ["/.h/../gw.lua"] = "/gw.lua",
      ["/a b/./././gw.lua"] = "/a b/gw.lua", ["//a b//gw.lua"] = "/a b/gw.lua",
      ["/a b/c/.."] = "/a b", ["/.h/"] = "/.h", ["/..data/gw.lua"] = "/..data/gw.lua",
      ["/link/../gw.lua"] = "/a b/gw.lua", ["/link/gw.lua"] = "/link/gw.lua",
      ["/none/../gw.lua"] = "/gw.lua",
    } do
      assert.equal(dir .. expected, shell.absolute(dir .. given))
    end
    assert.equal("/", shell.absolute "/")
    assert.equal("/gw.lua", shell.absolute "/../gw.lua")
    assert.equal(shell.output "pwd" .. "/gw.lua", shell.absolute "./gw.lua")
    assert.equal(shell.output "realpath .." .. "/gw.lua", shell.absolute "../gw.lua")
    os.execute(("rm -rf '%s'"):format(dir))
  end)
end)
