--- Does an answer refuse, or say that it does not know?
--
-- Small models say so at once, in few words, and in the language that they were asked in: the first
-- bytes are looked at for phrases, in lower case and with one kind of apostrophe and comma. A
-- phrase that is quoted there is taken for a refusal too.
local refusals = {}

local OPENING = 200 -- bytes

--- The phrases, as they are looked for.
refusals.phrases = {
  -- English
  "i can't help with", "i can't help you with", "i cannot help", "i can't assist",
  "i cannot assist", "i can't answer", "i cannot answer", "i can't provide", "i cannot provide",
  "i'm unable to", "i am unable to", "i'm not able to", "i am not able to", "i'm sorry, but i",
  "i am sorry, but i", "sorry, but i can", "sorry, i can't", "sorry, i cannot", "i don't know",
  "i do not know", "i don't have enough information", "as an ai",
  -- Chinese, simplified and traditional
  "我无法回答", "我无法提供", "我无法帮", "我无法协助", "我无法满足", "无法回答您", "无法回答这个",
  "我不能回答", "我不能提供", "我不能帮", "我不知道", "我不清楚", "我不太清楚", "抱歉,我", "抱歉,作为",
  "对不起,我", "作为一个人工智能", "作为一个ai", "作为ai", "我無法回答", "我無法提供", "我無法協助",
  "對不起,我", "作為一個ai",
  -- Japanese, Korean
  "お答えできません", "お手伝いできません", "申し訳ありませんが", "申し訳ございませんが", "わかりません",
  "分かりません", "죄송하지만", "죄송합니다만", "도와드릴 수 없", "답변할 수 없", "답변드릴 수 없", "모르겠습니다",
  -- German, French
  "tut mir leid, aber", "ich kann ihnen dabei nicht", "ich kann dir dabei nicht",
  "kann ich nicht beantworten", "ich weiß es nicht", "ich weiß nicht", "als ki-",
  "désolé, mais", "désolée, mais", "je ne peux pas répondre", "je ne peux pas vous aider",
  "je ne peux pas t'aider", "je ne sais pas", "en tant qu'ia",
  -- Spanish, Portuguese, Italian
  "lo siento, pero", "no puedo ayudar", "no puedo responder", "no lo sé", "no sé la respuesta",
  "desculpe, mas", "não posso ajudar", "não consigo responder", "não posso responder", "não sei",
  "mi dispiace, ma", "non posso aiutar", "non posso rispondere", "non lo so",
  -- Russian, Arabic
  "к сожалению, я не", "извините, но", "я не могу помочь", "я не могу ответить", "я не знаю",
  "Я не могу помочь", "Я не могу ответить", "Я не знаю", "К сожалению, я не", "Извините, но",
  "آسف، لكن", "لا أستطيع مساعدتك", "لا أستطيع الإجابة", "لا أعرف",
}

-- U+2019 and U+FF0C as ASCII has them.
local function plain(text)
  return (text:lower():gsub("\226\128\153", "'"):gsub("\239\188\140", ","))
end

--- The phrases to look for: the shipped ones, and more.
---@param more string[]?
---@return string[]
function refusals.list(more)
  local out = {}
  for i, phrase in ipairs(refusals.phrases) do out[i] = phrase end
  for _, phrase in ipairs(more or {}) do out[#out + 1] = plain(phrase) end
  return out
end

--- Does the text open with one of them?
---@param text string
---@param list string[] of `refusals.list`
---@return boolean
function refusals.has(text, list)
  local from = text:find "%S"
  if not from then return false end
  local opening = plain(text:sub(from, from + OPENING - 1))
  for i = 1, #list do
    if opening:find(list[i], 1, true) then return true end
  end
  return false
end

return refusals
