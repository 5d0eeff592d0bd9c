-- :[range]Ask QUESTION and :AskStop.
vim.api.nvim_create_user_command("Ask", function(given)
  local lines
  if given.range > 0 then
    lines = vim.api.nvim_buf_get_lines(0, given.line1 - 1, given.line2, false)
  end
  require("ask").ask(given.args, lines)
end, { nargs = "+", range = true, desc = "ask an LLM" })

vim.api.nvim_create_user_command("AskStop", function() require("ask").stop() end,
  { desc = "end the answer that is under way" })
