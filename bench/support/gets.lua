--- What a race of caches runs: gets each key in turn. The loop costs something too: so no functions
--- in between.
---@param c table with `get`, see `unbusy.cache`
---@param keys table
---@return fun(n: integer)
return function(c, keys)
  local at, last = 0, #keys
  return function(n)
    for _ = 1, n do
      at = at % last + 1
      c:get(keys[at])
    end
  end
end
