-- write.lua: a chunk of mini-transactions, each all or nothing, in order, the later seeing the effects of the earlier.
--
-- ARGV[1] is the program. It begins with '+' if every effect is a plain put, an extension or an append, no guard asks for
-- absence, there are no needs, and no transaction of the chunk guards, puts or extends a key that another one puts or extends,
-- or that one appends to. Then comes one letter for each operation
-- (guards, needs, effects), and '.' after each transaction. Brackets hold the argument:
--   C guard and put of one key: holds [expected], becomes [value]
--   G guard: holds [expected]     N guard: the key is absent ['']
--   E the key exists ['']     L the list is shorter than [length]
--   S put of a short value [value]      T extend a value [addition]      P put [value]      X put, vanishing after [milliseconds and ' ' and value]
--   D delete ['']      A append to the list [value]      F drop the first of the list [count]
-- KEYS are those of all C, of all G and N, of all S, of all T, of all A, of all others; ARGV[2] to ARGV[6] count the first five. Then follow
-- the expected values of C, the other arguments in the order of KEYS, and the new values of C.
--
-- Returns nil if all are committed; otherwise three values for each exception: the position of the transaction, from 0;
-- then the position of the guard or need that failed, from 0, and what was found, a string or nil, or 1 for another type;
-- or -1 and the key of the first effect of the wrong type.
--
-- A script never rolls back, so all guards, needs and types are checked before the first write.
local KEYS, ARGV, call, pcall, type, unpack = KEYS, ARGV, redis.call, redis.pcall, type, unpack
local swaps, guards = tonumber(ARGV[2]), tonumber(ARGV[3])
local shorts, extensions, appends = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local operations, before = #KEYS, 6 -- ARGV[before + i] belongs to KEYS[i]
local guarded, looked_at = swaps + guards, swaps + guards + shorts
local extended = looked_at + extensions
local appended = extended + appends

local function is_value_or_absent(key) -- STRLEN is the cheapest command that refuses every other type
  return type(pcall('STRLEN', key)) == 'number'
end

-- MGET costs a third of a call for each key, so it also reads the values that are probably short.
local found = looked_at > 0 and call('MGET', unpack(KEYS, 1, looked_at)) or {}

local function all_hold_and_fit()
  for i = 1, guarded do
    if found[i] ~= ARGV[before + i] then return false end
  end
  for i = guarded + 1, looked_at do
    if not found[i] and not is_value_or_absent(KEYS[i]) then return false end
  end
  for i = looked_at + 1, extended do
    if not is_value_or_absent(KEYS[i]) then return false end
  end
  for i = extended + 1, appended do -- a whole chunk usually appends to one list
    if (i == extended + 1 or KEYS[i] ~= KEYS[i - 1]) and type(pcall('LLEN', KEYS[i])) ~= 'number' then return false end
  end
  for i = appended + 1, operations do
    if not is_value_or_absent(KEYS[i]) then return false end
  end
  return true
end

if ARGV[1]:byte() == 43 and all_hold_and_fit() then
  local arguments, n = {}, 0
  for i = 1, swaps do
    arguments[n + 1], arguments[n + 2] = KEYS[i], ARGV[before + operations + i]
    n = n + 2
  end
  for i = guarded + 1, looked_at do
    arguments[n + 1], arguments[n + 2] = KEYS[i], ARGV[before + i]
    n = n + 2
  end
  for i = appended + 1, operations do
    arguments[n + 1], arguments[n + 2] = KEYS[i], ARGV[before + i]
    n = n + 2
  end
  if n > 0 then call('MSET', unpack(arguments)) end
  for i = looked_at + 1, extended do call('APPEND', KEYS[i], ARGV[before + i]) end
  local first = extended + 1
  while first <= appended do -- the entries of one list in one call
    local last = first
    while last < appended and KEYS[last + 1] == KEYS[first] do last = last + 1 end
    call('RPUSH', KEYS[first], unpack(ARGV, before + first, before + last))
    first = last + 1
  end
  return nil
end

-- From here on one by one. `state` is the future state of each key: a string is a value ('' also stands for one that no
-- guard compares), false is absence, a number is the length of a list, true is any other type.
local state = {}
for i = 1, guarded do
  local key, value = KEYS[i], found[i]
  if not value and call('EXISTS', key) == 1 then -- MGET returns nil for every other type too
    local length = pcall('LLEN', key)
    value = type(length) == 'number' and length or true
  end
  state[key] = value
end

local function look(key, is_list_wanted)
  if not is_list_wanted then return is_value_or_absent(key) and '' or true end
  local length = pcall('LLEN', key)
  if type(length) ~= 'number' then return true end
  return length > 0 and length
end

local next_of = {C = 0, G = swaps, S = guarded, T = looked_at, A = extended, P = appended} -- the last position taken in KEYS, by kind
local kind_of = {C = 'C', G = 'G', N = 'G', S = 'S', T = 'T', P = 'P', X = 'P', D = 'P', A = 'A', F = 'P', E = 'P', L = 'P'}
local is_condition = {C = true, G = true, N = true, E = true, L = true}

-- The operations of a transaction: letter, key, argument, and for C the new value.
local function take(letters)
  local taken = {}
  for i = 1, #letters do
    local letter = letters:sub(i, i)
    local kind = kind_of[letter]
    local at = next_of[kind] + 1
    next_of[kind] = at
    taken[i] = {letter, KEYS[at], ARGV[before + at], letter == 'C' and ARGV[before + operations + at]}
  end
  return taken
end

local function unmet_need(letter, key, than) -- returns whether the need is unmet, and what was found
  local now = state[key]
  if letter == 'E' then
    if now == nil then now = call('EXISTS', key) == 1 end
    return not now, false
  end
  if now == nil then now = look(key, true) end
  if now and type(now) ~= 'number' then return true, true end
  local length = now or 0
  return length >= tonumber(than), tostring(length)
end

local function failed_condition(taken)
  for i = 1, #taken do
    local letter, key, expected = unpack(taken[i])
    if not is_condition[letter] then return nil end
    if letter == 'E' or letter == 'L' then
      local unmet, value = unmet_need(letter, key, expected)
      if unmet then return i - 1, value end
    else
      if letter == 'N' then expected = false end
      if state[key] ~= expected then return i - 1, state[key] end
    end
  end
end

-- The state after the effects, by key; or nil and the key of the first effect of the wrong type.
local function after(taken)
  local left = {}
  for i = 1, #taken do
    local letter, key, argument, new = unpack(taken[i])
    local now = left[key]
    if now == nil then now = state[key] end
    if letter == 'C' then
      left[key] = new
    elseif letter == 'D' then
      left[key] = false
    elseif not is_condition[letter] then
      local is_list_wanted = letter == 'A' or letter == 'F'
      if now == nil then now = look(key, is_list_wanted) end
      if now and type(now) ~= (is_list_wanted and 'number' or 'string') then return nil, key end
      if letter == 'T' then
        left[key] = (now or '') .. argument
      elseif letter == 'A' then
        left[key] = (now or 0) + 1
      elseif letter == 'F' then
        local rest = (now or 0) - tonumber(argument)
        left[key] = rest > 0 and rest
      else
        left[key] = letter == 'X' and argument:match(' (.*)') or argument -- Lua's '.' is any byte
      end
    end
  end
  return left
end

local commands, puts, replies = {}, {'MSET'}, {}

local function close_puts()
  if #puts > 1 then commands[#commands + 1] = puts end
  puts = {'MSET'}
end

local function plan(taken)
  for i = 1, #taken do
    local letter, key, argument, new = unpack(taken[i])
    if letter == 'C' or letter == 'S' or letter == 'P' then
      local n = #puts
      puts[n + 1], puts[n + 2] = key, new or argument
    elseif not is_condition[letter] then
      close_puts()
      if letter == 'X' then
        local expire_ms, value = argument:match('(%d+) (.*)')
        commands[#commands + 1] = {'SET', key, value, 'PX', expire_ms}
      elseif letter == 'D' then
        commands[#commands + 1] = {'DEL', key}
      elseif letter == 'T' then
        commands[#commands + 1] = {'APPEND', key, argument}
      elseif letter == 'A' then
        commands[#commands + 1] = {'RPUSH', key, argument}
      else
        commands[#commands + 1] = {'LTRIM', key, argument, -1}
      end
    end
  end
end

local function refuse(transaction, position, value)
  local n = #replies
  replies[n + 1], replies[n + 2], replies[n + 3] = transaction, position, value
end

local transaction = 0
for letters in ARGV[1]:gmatch('(%u*)%.') do
  local taken = take(letters)
  local position, value = failed_condition(taken)
  if position then
    if value and type(value) ~= 'string' then value = 1 end
    refuse(transaction, position, value)
  else
    local left, misfit = after(taken)
    if left then
      for key, now in next, left do state[key] = now end
      plan(taken)
    else
      refuse(transaction, -1, misfit)
    end
  end
  transaction = transaction + 1
end
close_puts()
for i = 1, #commands do call(unpack(commands[i])) end
return replies
