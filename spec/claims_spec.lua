-- The runner of `make claims`: rows in files of their own, measured in processes of their own.
local files = require "spec.support.files"
local rows = require "claims.rows"
local served = require "spec.support.served"

local LUA = os.getenv "UNBUSY_LUA" or "lua5.4"

local ROW = [[return { row = "9.9", title = "Made up", how = "Not at all.", seconds = %d,
  measure = function(sheet) %s end }]]

describe("claims", function()
  local place
  setup(function() place = served.place() end)
  teardown(function() place:remove() end)

  local function row(name, body, seconds)
    return place:write(name .. ".lua", ROW:format(seconds or 20, body))
  end

  -- Runs it on these arguments: what it prints, and its exit status.
  local function claims(...)
    local words = { LUA, "claims/claims.lua", ... }
    for i, word in ipairs(words) do words[i] = files.quote(word) end
    local out, status = files.trimmed(table.concat(words, " ") .. " 2>&1; echo $?")
      :match "^(.-)\n?(%d+)$"
    return out, tonumber(status)
  end

  local GOOD = 'sheet:input("x", 7) sheet:figure { what = "a thing", claimed = "2 |", value = 3, '
    .. 'show = "%.1f", least = 2 } sheet:table("By y", { "y" }, { { "z" } }) sheet:say "So."'

  it("tells what was measured beside what was claimed, and writes a page of it", function()
    local page = place.dir .. "/page.md"
    local out, status = claims(row("good", GOOD), "--page", page)
    assert.equal(0, status, out)
    assert.matches("== 9%.9 .*good%.lua: Made up %(%d+ s%)\n", out)
    assert.matches("\n  a thing +claimed 2 | +measured 3%.0 +met\n", out)
    assert.matches("\n1 figures met, 0 missed, 0 not reached; 0 of 1 rows failed$", out)
    local text = files.text(page)
    assert.matches("| %[9%.9%]%(#99%-made%-up%) | a thing | 2 \\| | 3%.0 | met |", text)
    assert.matches("\n| x | 7 |\n", text)
    assert.matches("By y:\n\n| y |\n|%-%-%-|\n| z |\n\nSo%.\n", text)
  end)

  it("says which figure is missed, and ends with 1", function()
    local out, status = claims(row("missed",
      'sheet:figure { what = "a", claimed = "1", value = 2, most = 1 } '
      .. 'sheet:figure { what = "b", claimed = "1", value = 0 / 0, least = 1 }'))
    assert.equal(1, status)
    assert.matches("0 figures met, 2 missed, 0 not reached; 0 of 1 rows failed", out)
  end)

  it("says why a figure cannot be reached, and takes it for no miss", function()
    local out, status = claims(row("unknown",
      'sheet:cannot { what = "a", claimed = "4.2 M", why = "Nobody knows." }'))
    assert.equal(0, status, out)
    assert.matches("not reached\n    Nobody knows%.", out)
  end)

  it("tells of a row that failed, and goes on with the next", function()
    local page = place.dir .. "/failed.md"
    local out, status = claims(row("raises", 'error "no server"'),
      row("late", "while true do end", 1), row("empty", ""), row("good", GOOD), "--page", page)
    assert.equal(1, status)
    assert.matches("FAILED: [^\n]*no server", out)
    assert.matches("FAILED: not done within 1 s", out)
    assert.matches("FAILED: [^\n]*no figure", out)
    assert.matches("1 figures met, 0 missed, 0 not reached; 3 of 4 rows failed", out)
    assert.matches("%*%*failed%*%*", files.text(page))
  end)

  it("refuses what is no row", function()
    for words, message in pairs { ["nothing"] = "no row is named 'nothing'",
      ["--all"] = "unknown option %-%-all",
      [place:write("bad.lua", "return { row = 1 }")] = "bad%.lua: %l+: a %l+ expected" } do
      local out, status = claims(words)
      assert.matches(message, out)
      assert.equal(2, status)
    end
  end)

  it("has a file for each of its rows", function()
    for _, name in ipairs(rows.names) do
      local it = assert(rows.read(name))
      assert.equal(name, it.name)
    end
  end)
end)
