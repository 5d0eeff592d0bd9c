-- luacheck: globals now
-- A policy for specs: it waits for a second and some dice, and then as long as the clock says.
return {
  retry = function(try)
    if try.number == 1 then return 1 + math.random() end
    if try.number == 2 then return (now() - 1700000000) / 1.25 + math.random(1, 4) end
  end,
}
