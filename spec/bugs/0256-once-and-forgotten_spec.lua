-- `unbusy scale --once` forgot at its end what a look leaves for the next one: a change that
-- kubectl was cut off behind, after which there were three replicas more at every run, up to the
-- ceiling; and what Alertmanager could not be told "yet", and was never told.
local files = require "spec.support.files"
local governor = require "unbusy.scaling.governor"
local json = require "unbusy.json"
local options = require "unbusy.scaling.options"
local rules = require "unbusy.scaling.rules"
local turn = require "unbusy.scaling.turn"

local lua = os.getenv "UNBUSY_LUA" or "lua5.4"

-- A kubectl whose change is heard, and that fails all the same.
local KUBECTL = [[#!/bin/sh
case "$*" in
  *horizontalpodautoscalers) echo '{"items":[]}' ;;
  */metrics.k8s.io/*) echo '{"items":[{"metadata":{"name":"a"},"usage":{"cpu":"9"},"timestamp":"'$(
    date -u +%Y-%m-%dT%H:%M:%SZ)'"}]}' ;;
  */api/v1/nodes) echo '{"items":[{"metadata":{"name":"a"},"status":{"allocatable":{"cpu":"10"},
    "conditions":[{"type":"Ready","status":"True"}]}}]}' ;;
  */scale) echo '{"kind":"Scale","spec":{"replicas":'$(cat "$0.n")'}}' ;;
  *--replicas=*) echo "$*" | sed 's/.*--replicas=//' >"$0.n"; echo 'cut off' >&2; exit 1 ;;
esac
]]

describe("unbusy scale --once", function()
  local dir

  before_each(function() dir = files.trimmed 'mktemp -d "${TMPDIR:-/tmp}/0256.XXXXXX"' end)
  after_each(function() os.execute("rm -rf " .. files.quote(dir)) end)

  it("knows of a change that kubectl was cut off behind", function()
    local kubectl = dir .. "/kubectl"
    files.write(kubectl, KUBECTL)
    files.write(kubectl .. ".n", "5")
    os.execute("chmod 755 " .. files.quote(kubectl))
    local command = ("%s bin/unbusy scale d --once --json --kubectl %s --state %s 2>/dev/null")
      :format(lua, files.quote(kubectl), files.quote(dir .. "/state"))
    local said = {}
    for i = 1, 3 do
      local r = json.decode(files.output(command))
      said[i] = ("%d %s"):format(r.replicas, r.action)
    end
    assert.same({ "5 failed", "8 cooling", "8 cooling" }, said)
  end)
end)

describe("a turn that begins where another has ended", function()
  local now, outside

  local function new(o)
    local r, g = options.read({}, "cpu")
    return turn.new { rule = rules.cpu, rule_options = r, governor = governor.new(g),
      wall = function() return 1000 + now end, replicas = function() return outside.n end,
      look = function() return { cpu = 9000, cpu_whole = 10000 } end,
      scale = function(_, to)
        outside.n = to
        return not o.fails, "cut off"
      end,
      tell = function(event)
        if outside.down then return nil, "no answer" end
        outside.told[#outside.told + 1] = ("%s %d"):format(event.kind, event.at)
        return true
      end }
  end

  before_each(function() now, outside = 0, { n = 5, told = {}, down = true } end)

  -- The next one, a minute later, with what is left of the one before in a file.
  local function next_one(t)
    local text = assert(json.encode(t:memory(now)))
    now = now + 60
    local other = new {}
    other:remember(now, json.decode(text), 60)
    return other
  end

  it("tells what could not be told, with its time", function()
    local t = new {}
    assert.same({ "up", "no answer" }, { t:run(now).action, t:run(now).untold })
    outside.down = false
    t = next_one(t)
    assert.is_nil(t:run(now).untold)
    assert.equal("scaled 1000", outside.told[1])
  end)

  it("tells of a change that was made by a kubectl that failed", function()
    outside.down = false
    local t = new { fails = true }
    assert.equal("failed", t:run(now).action)
    t = next_one(t)
    t:run(now)
    assert.same({ "failed 1000", "scaled 1060" }, { outside.told[1], outside.told[2] })
  end)

  it("takes no nonsense for such", function()
    for _, text in ipairs { "{}", '{"unsure":7,"untold":7}', '{"unsure":{},"untold":[7,{},null]}',
      '{"unsure":{"age":-1,"from":1,"to":2,"action":"up","why":"x"}}',
      '{"unsure":{"age":1,"from":1,"to":1.5,"action":"up","why":"x"}}',
      '{"unsure":{"age":1,"from":1,"to":5,"action":"no","why":"x"}}',
      '{"untold":[{"kind":"no","from":1,"to":2,"why":"x","at":1}]}',
      '{"untold":[{"kind":"scaled","from":1e300,"to":2,"why":"x","at":1}]}',
      '{"untold":[{"kind":"scaled","from":1,"to":2,"why":7,"at":1}]}',
      '{"untold":[{"kind":"scaled","from":1,"to":2,"why":"x","at":1e300}]}' } do
      local t = new {}
      t:remember(now, json.decode(text), 0)
      assert.same({ {}, nil }, { t.untold, t.unsure }, text)
    end
  end)
end)
