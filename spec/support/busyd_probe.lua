--- Asking a busy upstream with curl, bytes and all: for its own specs.
local busyd = require "spec.support.busyd"
local cjson = require "cjson"
local direct = require "spec.support.direct"
local files = require "spec.support.files"

local probe = { dir = os.tmpname() }
os.remove(probe.dir)

--- What a shell line prints, errors too.
function probe.sh(command)
  return files.output(command .. " 2>&1")
end

--- The body of a chat request.
function probe.chat(question, more)
  local body = { model = "m", messages = { { role = "user", content = question } } }
  for name, value in pairs(more or {}) do body[name] = value end
  return cjson.encode(body)
end

--- The curl command that sends it.
function probe.command(body, options, path, url)
  return ("curl -q -s --noproxy '*' --max-time 15 %s %s -d %s"):format(options or "",
    files.quote((url or probe.up.url) .. (path or "/v1/chat/completions")), files.quote(body))
end

--- Asks once: status line, headers and body as text, and curl's exit code.
function probe.ask(body, options, path, url)
  local line = probe.command(body, "-i " .. (options or ""), path, url)
  local out = probe.sh(line .. "; echo; echo exit:$?")
  return out:match "^(.*)\nexit:%d+\n$", tonumber(out:match "exit:(%d+)\n$")
end

--- As 'ask', with the exit code of curl itself.
function probe.raw(body, options)
  local out = probe.sh(probe.command(body, "-i --raw " .. (options or "")) .. "; echo exit:$?")
  local bytes, code = out:match "^(.*)exit:(%d+)\n$"
  return bytes, tonumber(code)
end

--- Every byte that comes back to a plain HTTP/1.1 request.
function probe.wire_bytes(body)
  local request = ("POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s")
    :format(#body, body)
  local port = probe.up.url:match "%d+$"
  local line = "exec 3<>/dev/tcp/127.0.0.1/%s; printf %%s %s >&3; cat <&3"
  return probe.sh("bash -c " .. files.quote(line:format(port, files.quote(request))))
end

--- Behind the blank line.
function probe.body_of(reply) return reply:match "\r\n\r\n(.*)$" end

--- Of the status line.
function probe.status_of(reply) return tonumber(reply:match "HTTP/%S+ (%d+)") end

--- Of a whole chat answer.
function probe.text_of(reply)
  return cjson.decode(probe.body_of(reply)).choices[1].message.content
end

--- The events' data of a stream, and the text they make.
function probe.events_of(body)
  local list, text = {}, ""
  for data in (body .. "\n"):gmatch "data: ([^\r\n]*)" do
    list[#list + 1] = data
    local content = data:match '^{.*"content":"([^"]*)"'
    text = text .. (content or "")
  end
  return list, text
end

--- The next request meets this preset.
function probe.preset(name, fields)
  local spec = { preset = name }
  for k, v in pairs(fields or {}) do spec[k] = v end
  probe.up:programme { script = { spec }, reset = true }
end

--- Starts commands at the same time; the function given back waits for them and gives their outputs
-- in order.
function probe.start(commands)
  os.execute("mkdir -p " .. probe.dir)
  local lines = {}
  for i, each in ipairs(commands) do
    lines[i] = ("( %s ) > %s/%d 2>&1 &"):format(each, probe.dir, i)
  end
  local pipe = assert(io.popen(table.concat(lines, "\n") .. "\nwait", "r"))
  return function()
    pipe:close()
    local outputs = {}
    for i = 1, #commands do
      local file = assert(io.open(probe.dir .. "/" .. i, "rb"))
      outputs[i] = file:read "*a"
      file:close()
    end
    return outputs
  end
end

--- Runs commands at the same time and gives their outputs.
function probe.together(commands) return probe.start(commands)() end

--- Waits until the counts are as wanted: what happens after a client has left takes a moment.
function probe.eventually(wanted)
  local counts
  for _ = 1, 200 do
    counts = probe.up:counts()
    if wanted(counts) then return counts end
    direct.pause(0.02)
  end
  error("never came: " .. cjson.encode(counts))
end

--- Lets the block's specs share one upstream (`probe.up`), whose books must balance after each.
function probe.watch(block)
  block.setup(function() probe.up = busyd.start { tls = true } end)
  block.teardown(function()
    probe.up:stop()
    os.execute("rm -rf " .. probe.dir)
  end)
  block.before_each(function() probe.up:programme { reset = true } end)
  block.after_each(function()
    -- whoever is counted as it leaves would be counted for the next spec
    local c = probe.eventually(function(counts) return counts.bytes_counted >= counts.received end)
    assert(c.internal_errors == 0, "internal errors")
    assert(c.received == c.completed + c.faulted + c.refused + c.rejected + c.aborted_by_client
      + c.in_service + c.queued, "the books do not balance")
  end)
end

return probe
