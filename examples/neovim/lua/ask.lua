--- Asks an LLM from inside Neovim: the answer is written into a buffer as it comes, and the editor
--- stays free meanwhile.
--
--     require("ask").setup { targets = { { name = "deepseek", url = "https://api.deepseek.com",
--       models = { default = "deepseek-flash" } } } }
--     :Ask what is a monad?        :'<,'>Ask what is wrong here?        :AskStop
local unbusy = require "unbusy"

local ask = {}
local api = vim.api

local client   -- of all questions: what it has learned of the server counts for the next one, too
local running  -- the canceller of the last question, while it is answered

--- Sets whom to ask. May be called again; what is under way then fails.
---@param options table|string of `unbusy.new`
function ask.setup(options)
  if client then client:close() end
  client = unbusy.new(options)
end

-- A window below, with an empty buffer for the answer.
local function open_buffer()
  vim.cmd "botright new"
  local buffer = api.nvim_get_current_buf()
  vim.bo[buffer].buftype, vim.bo[buffer].bufhidden = "nofile", "wipe"
  vim.bo[buffer].filetype = "markdown"
  return buffer
end

-- Writes text at the buffer's end; false where the buffer is gone, or may not be changed.
local function append(buffer, text)
  if not api.nvim_buf_is_valid(buffer) then return false end
  local row = api.nvim_buf_line_count(buffer) - 1
  local column = #api.nvim_buf_get_lines(buffer, row, row + 1, true)[1]
  local lines = vim.split(text, "\n", { plain = true })
  return (pcall(api.nvim_buf_set_text, buffer, row, column, row, column, lines))
end

-- Reads the answer into the buffer. Where there is no place for it any more the rest is cancelled,
-- and the server is free.
local function answer(buffer, request, cancel)
  local stream, message, code = client:stream(request, { cancel = cancel })
  while stream do
    local piece
    piece, message, code = stream:read()
    if not piece then break end
    if piece.text and not append(buffer, piece.text) then stream:close() end
  end
  if code and code ~= "cancelled" then vim.notify("ask: " .. message, vim.log.levels.ERROR) end
end

--- Asks, and gives the buffer in which the answer will be.
---@param question string
---@param lines string[]? what it is about
---@return integer buffer
function ask.ask(question, lines)
  if not client then error("ask: require('ask').setup { targets = … } first", 2) end
  ask.stop()
  if lines then question = question .. "\n\n" .. table.concat(lines, "\n") end
  local buffer, cancel = open_buffer(), unbusy.canceller()
  running = cancel
  unbusy.spawn(function()
    answer(buffer, { messages = { { role = "user", content = question } } }, cancel)
    if running == cancel then running = nil end
  end)
  return buffer
end

--- Ends the answer that is under way; what has come stays.
function ask.stop()
  if running then running:cancel() end
  running = nil
end

--- Is there one under way?
---@return boolean
function ask.is_running() return running ~= nil end

return ask
