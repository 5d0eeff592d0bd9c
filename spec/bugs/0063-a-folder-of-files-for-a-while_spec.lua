-- With a TMPDIR that does not begin at the root neither `unbusy serve` nor --print-conf came to
-- anything: nginx takes the path of its configuration as one below its prefix, which was the same
-- folder. And what only nginx's own trial finds wrong with a configuration was told with nginx's
-- place ("init_by_lua(nginx.conf:13):2:"), and ended with 1 in place of 2.
local busyd = require "spec.support.busyd"
local served = require "spec.support.served"

describe("unbusy serve", function()
  local up, place
  setup(function() up, place = busyd.start { workers = 1 }, served.place() end)
  teardown(function()
    place:remove()
    up:stop()
  end)

  local function config(more)
    return place:write("gw.lua", ([[return {
      targets = { { name = "up", url = "%s", key = "k" } }, %s }]]):format(up.url, more or ""))
  end

  it("has its files in a TMPDIR that does not begin at the root", function()
    os.execute(("mkdir -m 1777 '%s/rel'"):format(place.dir))
    local given = { env = { TMPDIR = "rel" } }
    local r = place:serve({ "--print-conf", config() }, given)
    assert.same({ "", 0 }, { r.err, r.rc })
    local server = served.start(place, { config() }, given)
    assert.equal(200, select(2, server:chat "hi"))
    server:stop()
  end)

  it("tells what is wrong with the configuration alone, whoever finds it", function()
    local path = config "cache = { per = 'tenant' }"
    for _, words in ipairs { { path }, { "--print-conf", path },
      { "--listen", "127.0.0.1:" .. served.free_port(), path } } do
      local r = place:serve(words)
      assert.same({ "", ("unbusy: %s: cache.per: tenants are told by their keys: gateway.keys "
        .. "expected\n"):format(path), 2 }, { r.out, r.err, r.rc })
    end
  end)
end)
