-- What kubectl complains of goes by way of a file in /tmp. Where none could be made (a read-only
-- image without a volume there, a disk without room), `unbusy scale` ended as with a fault of its
-- own, before it had looked once, though kubectl would have answered.
local json = require "unbusy.json"
local served = require "spec.support.served"

local KUBECTL = [[#!/bin/sh
for word; do case $word in
  */scale) echo '{"kind":"Scale","spec":{"replicas":3}}'; exit 0;;
  */horizontalpodautoscalers) echo '{"items":[]}'; exit 0;;
  /api/v1/nodes) echo '%s'; exit 0;;
  *metrics*) echo '%s' | sed "s/NOW/$(date -u +%%FT%%TZ)/"; exit 0;;
esac; done
echo "no such thing" >&2; exit 7
]]

local READY = { type = "Ready", status = "True" }
local NODES = json.encode { items = json.array { { metadata = { name = "n" },
  status = { allocatable = { cpu = "4" }, conditions = json.array { READY } } } } }
local USAGE = json.encode { items = json.array { { metadata = { name = "n" }, timestamp = "NOW",
  usage = { cpu = "1" } } } }

local NO_FILES = "LUA_INIT='os.tmpname = function() error [[none]] end'"

describe("unbusy scale, where no file can be made", function()
  local place
  before_each(function() place = served.place() end)
  after_each(function() place:remove() end)

  local function look(script)
    local path = place:write("kubectl", script)
    os.execute(("chmod +x '%s'"):format(path))
    return place:run({ "scale", "svc", "--once", "--dry-run", "--kubectl", path },
      { env = NO_FILES })
  end

  it("looks all the same", function()
    local r = look(KUBECTL:format(NODES, USAGE))
    assert.same({ "", 0 }, { r.err, r.rc })
    assert.matches("svc 3 hold: CPU 1000m of 4000m", r.out)
  end)

  it("says that kubectl has failed, without its words", function()
    local r = look "#!/bin/sh\necho no such thing >&2; exit 7\n"
    assert.equal(1, r.rc)
    assert.matches("svc %? missing: the number of replicas: kubectl ended with status 7", r.out)
  end)
end)
