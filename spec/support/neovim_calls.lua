-- What spec/loops/neovim_spec.lua lets Neovim run: calls to the server URL, and a file, REPORT, of
-- what each step came to.
local url, report = os.getenv "URL", assert(io.open(os.getenv "REPORT", "w"))

local hosted = require "unbusy.loops.hosted"
local unbusy = require "unbusy"
local vim, uv = vim, vim.loop -- luacheck: ignore 113
local wire = require "unbusy.loops.wire"

local client = unbusy.new { targets = { { name = "a", url = url } }, limiter = false }

local function question(text)
  return { model = "m", messages = { { role = "user", content = text } } }
end

local function say(...)
  local words = { ... }
  for i = 1, #words do words[i] = tostring(words[i]) end
  report:write(table.concat(words, " "), "\n")
  report:flush()
end

-- Handles that were made here; Neovim has others of its own.
local handles = {}
for _, kind in ipairs { "new_poll", "new_timer", "new_idle" } do
  local new = uv[kind]
  uv[kind] = function(...)
    local handle = new(...)
    handles[#handles + 1] = handle
    return handle
  end
end

local function open_handles()
  local count = 0
  for _, handle in ipairs(handles) do
    if not handle:is_closing() then count = count + 1 end
  end
  return count
end

-- Runs Neovim's loop until `done()`.
local function wait(done) return (vim.wait(30000, done, 10)) end

-- 200 coroutines of Neovim's at once; the server holds them until all are there.
local answered = 0
for i = 1, 200 do
  coroutine.wrap(function()
    local reply = assert(client:chat(question("q" .. i)))
    assert(reply.text == "echo: q" .. i)
    answered = answered + 1
  end)()
end
wait(function() return answered == 200 end)
say("answered", answered)

-- After a call all of Neovim's functions may be used.
local buffer
coroutine.wrap(function()
  local stream = assert(client:stream(question "天气"))
  local text = {}
  for piece in stream:pieces() do text[#text + 1] = piece.text end
  buffer = vim.api.nvim_create_buf(true, false)
  vim.api.nvim_buf_set_lines(buffer, 0, -1, false, { table.concat(text) })
end)()
wait(function() return buffer ~= nil end)
say("buffer", vim.api.nvim_buf_get_lines(buffer, 0, -1, false)[1])

-- The main thread: a call raises, `unbusy.run` blocks, `unbusy.spawn` does not.
say("main", (select(2, pcall(function() client:chat(question "q") end)):gsub("^.*/", "")))
say("run", unbusy.run(function()
  local task = unbusy.spawn(function()
    unbusy.sleep(0.01)
    return assert(client:chat(question "inside")).text
  end)
  return task:join()
end))
local said
local task = unbusy.spawn(function(text)
  unbusy.sleep(0.01)
  said = unbusy.run(function() return assert(client:chat(question(text))).text end)
  return said
end, "spawned")
say("begun", not task.done)
wait(function() return task.done end)
say("spawn", task:join())

-- What is thrown and not caught is shown, and Neovim goes on.
local went_on = false
coroutine.wrap(function()
  assert(client:chat(question "q"))
  unbusy.sleep(0.01)
  vim.schedule(function() went_on = true end)
  error "thrown after a call"
end)()
wait(function() return went_on and #vim.v.errmsg > 0 end)
say("shown", vim.v.errmsg:match "thrown after a call")

wait(function() return open_handles() == 0 end)
say("left", hosted.live(), wire.active(), open_handles())
report:close()
vim.cmd "qall!"
