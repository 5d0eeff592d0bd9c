-- `unbusy top --url` prints what it is told. The hash of a question went to the terminal as it
-- came, escapes and all; and numbers that are none ended the tool with an error of its own.
local files = require "spec.support.files"
local launcher = require "spec.support.launcher"
local served = require "spec.support.served"

local lua = os.getenv "UNBUSY_LUA" or "lua5.4"

local CONFIG = [[
${modules}
daemon off;
master_process off;
pid ${dir}/nginx.pid;
error_log ${dir}/error.log warn;
events { worker_connections 64; }
http {
  access_log off;
  ${temp_paths}
  default_type application/json;
  server { listen 127.0.0.1:${port}; ${locations} }
}
]]

local told = {
  escape = [[{"top":{},"questions":[{"hash":"\u001b]0;x\u0007","count":1,"error":0}]}]],
  number = [[{"top":{},"questions":[{"hash":"ab","count":"many","error":0}]}]],
  model = [[{"top":{},"questions":[{"hash":"ab","count":1,"error":0,"model":{}}]}]],
  list = [[{"top":{},"questions":[5]}]],
  fine = [[{"top":{"asked":"x","used":0.5},"cache":{"hits":"x","misses":1},"questions":]]
    .. [[[{"hash":"ab","count":3,"error":0,"model":"m\u001b[2J","question":"a\u001b[2J\u0007b"}]}]],
}

describe("unbusy top at a gateway that is none", function()
  local server, place
  setup(function()
    local locations = {}
    for name, text in pairs(told) do
      locations[#locations + 1] = ("location /%s/ { return 200 '%s'; }"):format(name, text)
    end
    server = launcher.start { config = CONFIG, values = { locations = table.concat(locations) } }
    place = served.place()
  end)
  teardown(function()
    server:stop()
    place:remove()
  end)

  local function top(name)
    local dir = files.quote(place.dir)
    os.execute(("%s bin/unbusy top --once --url http://127.0.0.1:%d/%s </dev/null >%s/out 2>%s/err"
      .. "; echo $? >%s/rc"):format(lua, server.port, name, dir, dir, dir))
    return { out = files.text(place.dir .. "/out"), err = files.text(place.dir .. "/err"),
      rc = tonumber(files.text(place.dir .. "/rc")) }
  end

  it("prints nothing that a terminal would obey", function()
    for _, name in ipairs { "escape", "number", "model", "list" } do
      assert.same({ out = "", err = "unbusy: this is no status of a gateway\n", rc = 1 }, top(name))
    end
    local r = top "fine"
    assert.same({ "", 0 }, { r.err, r.rc })
    assert.matches("ab +m%[2J +a%[2Jb\n$", r.out)
    assert.is_nil(r.out:find "[\27\7]")
  end)
end)
