-- A policy for specs: it decides all that it is asked, and nothing otherwise than by default.
return {
  classify = function(try) return try.code end,
  retry = function(try) return try.untried and 0 or 2 ^ (try.number - 1) end,
  route = function(_, targets)
    table.sort(targets, function(a, b)
      if a.tries ~= b.tries then return a.tries < b.tries end
      return a.name < b.name
    end)
    local names = {}
    for i, t in ipairs(targets) do names[i] = t.name end
    return names
  end,
  normalise = function(request) return request end,
  cache = function() return 300 end,
}
