-- docs/security.md names for each threat the tests that try it: they are there, under those words.
local files = require "spec.support.files"

-- The words of a file's tests; of one that is put together at run time, as it stands there.
local function tests_of(text)
  local found = {}
  for words in text:gmatch '%f[%w]it%("([^"]+)"' do found[words] = true end
  for words in text:gmatch '%["([^"]+)"%] = ' do found[words] = true end -- of a table of them
  return found
end

describe("docs/security.md", function()
  local function check_row(row)
    local named, cell = 0, row:match "| ([^|]+) |$"
    for path, words in (cell .. "["):gmatch '%]%(%.%./(spec/[^)]+)%)([^%[]*)%f[%[]' do
      local tests, count = tests_of(files.text(path)), 0
      for test in words:gmatch '"([^"]+)"' do
        assert.is_true(tests[test], ("%s: no test %q"):format(path, test))
        count = count + 1
      end
      assert.is_true(count > 0, row)
      named = named + count
    end
    assert.is_true(named > 0, row)
    return named
  end

  it("has a test for each threat, and each one is there", function()
    local threats, named = 0, 0
    local threats_of = files.text "docs/security.md":match "\n## Secrets(.*)\n## Random bytes"
    for row in threats_of:gmatch "\n(|[^\n]+)" do
      if not row:find "^| threat" and not row:find "^|%-" then
        threats, named = threats + 1, named + check_row(row)
      end
    end
    assert.is_true(threats > 30 and named > threats)
  end)

  it("names every target of the fuzz", function()
    local text = files.text "docs/security.md"
    local list = files.output "sh spec/fuzz/run.sh list"
    for name in list:gmatch "[%w_]+" do
      if name ~= "lua5" and name ~= "4" and name ~= "luajit" then
        assert.is_truthy(text:find("`" .. name .. "`", 1, true), name)
      end
    end
  end)
end)
