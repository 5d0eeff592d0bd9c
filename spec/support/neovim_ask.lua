-- What spec/loops/neovim_ask_spec.lua lets Neovim run, with examples/neovim among its plugins:
-- commands as a user types them, and a file, REPORT, of what each came to.
local vim = vim -- luacheck: ignore 113
local url, report = os.getenv "URL", assert(io.open(os.getenv "REPORT", "w"))

local function say(...)
  report:write(table.concat({ ... }, " "), "\n")
  report:flush()
end

local function programme(json)
  vim.fn.system { "curl", "-q", "-s", "--noproxy", "*", "-d", json, url .. "/__busy" }
end

local function shown() return table.concat(vim.api.nvim_buf_get_lines(0, 0, -1, false), "|") end
local function wait(done) return (vim.wait(60000, done, 5)) end
local function is_over() return not require("ask").is_running() end

local notes = {}
function vim.notify(message, level) notes[#notes + 1] = level .. " " .. message end

programme '{"script":[{"preset":"busy_503"}]}'
vim.cmd "Ask 天气 如何"
say("before", shown())
wait(is_over)
say("command", shown())

vim.cmd "new"
vim.api.nvim_buf_set_lines(0, 0, -1, false, { "one", "two", "three" })
vim.cmd "2,3Ask why?"
wait(is_over)
say("range", shown())

-- An answer that takes its time: the editor is free, and it may be ended.
programme '{"token_interval":0.02}'
local question = ("word "):rep(2000)
require("ask").ask(question)
wait(function() return #shown() > 20 end)
say("begun", tostring(("echo: " .. question):sub(1, #shown()) == shown()))
vim.cmd "AskStop"
say("stopped", tostring(is_over()), tostring(#shown() < #question))

-- Nobody looks any more.
local buffer = require("ask").ask(question)
wait(function() return #shown() > 20 end)
vim.cmd(buffer .. "bwipeout!")
say("left", tostring(wait(is_over)))

-- Nothing may be written there any more.
require("ask").ask(question)
wait(function() return #shown() > 20 end)
vim.bo.modifiable = false
say("kept", tostring(wait(is_over)), tostring(#shown() < #question))

programme '{"script":[{"preset":"insufficient_quota"}]}'
vim.cmd "Ask x"
wait(is_over)
say("failed", shown(), (notes[1] or ""):match "^(.-429 insufficient_quota)" or "", tostring(#notes))
report:close()
vim.cmd "qall!"
