-- write.lua: a chunk of mini-transactions, each all or nothing, in order, the later seeing the earlier.
--
-- ARGV[1] is the program: '+' if no guard of the chunk looks at what the chunk itself puts, no key is put twice and every
-- effect is a plain put; then one letter for each operation, guards before effects, and '.' after each transaction:
--   G guard: holds [expected]     N guard: nothing lies there ['']
--   P put [value]      X put, vanishing after so long [milliseconds and ' ' and value]
--   D delete ['']      A append to the list [value]      F drop the first of the list [count]
-- KEYS are the keys of all guards, then those of all effects. ARGV[2] is the number of guards; what stands in brackets
-- follows in the order of KEYS.
--
-- Returns nothing if all are committed; otherwise only the exceptions, three for each: the position of the transaction and
-- of the operation in it, both from 0, and what was found at its key: a string or nil where a guard did not hold, 1 where
-- another type lies than the operation needs.
--
-- A script never rolls back, so nothing is written before everything is decided. `state` is what each key is going to be:
-- a string is a value ('' also stands for one that no guard compares), false is absence, a number is the length of a list,
-- true is any other type.
local KEYS, ARGV, call, pcall, type, unpack = KEYS, ARGV, redis.call, redis.pcall, type, unpack
local guards, operations = tonumber(ARGV[2]), #KEYS
local state = {}

local function is_value_or_absent(key) -- STRLEN is the cheapest command that refuses every other type
  return type(pcall('STRLEN', key)) == 'number'
end

local function all_hold_and_fit(found)
  for i = 1, guards do
    local value = found[i]
    if value ~= ARGV[i + 2] then return false end
    state[KEYS[i]] = value
  end
  for i = guards + 1, operations do
    if not state[KEYS[i]] and not is_value_or_absent(KEYS[i]) then return false end
  end
  return true
end

local found = guards > 0 and call('MGET', unpack(KEYS, 1, guards)) or {}
if ARGV[1]:byte() == 43 and all_hold_and_fit(found) then
  local pairs_of, n = {}, 0
  for i = guards + 1, operations do
    pairs_of[n + 1], pairs_of[n + 2] = KEYS[i], ARGV[i + 2]
    n = n + 2
  end
  if n > 0 then call('MSET', unpack(pairs_of)) end
  return nil
end

state = {}
for i = 1, guards do
  local key, value = KEYS[i], found[i]
  if not value and call('EXISTS', key) == 1 then -- MGET says nil for every other type, too
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

-- What the effects from the e-th on of one transaction leave; or the position of the one that does not fit.
local function after(letters, e)
  local left = {}
  for i = 1, #letters do
    local letter, key = letters:sub(i, i), KEYS[e + i]
    local now = left[key]
    if now == nil then now = state[key] end
    if letter == 'D' then
      left[key] = false
    else
      local is_list_wanted = letter == 'A' or letter == 'F'
      if now == nil then now = look(key, is_list_wanted) end
      if now and (type(now) == 'number') ~= is_list_wanted or now == true then return nil, i - 1 end
      if letter == 'P' then
        left[key] = ARGV[e + i + 2]
      elseif letter == 'X' then
        left[key] = ARGV[e + i + 2]:match(' (.*)') -- Lua's '.' is any byte
      elseif letter == 'A' then
        left[key] = (now or 0) + 1
      else
        local rest = (now or 0) - tonumber(ARGV[e + i + 2])
        left[key] = rest > 0 and rest
      end
    end
  end
  return left
end

local commands, puts, replies = {}, {}, {}

local function close_puts()
  if #puts > 1 then commands[#commands + 1] = puts end
  puts = {'MSET'}
end

local function plan(letters, e)
  for i = 1, #letters do
    local letter, key, argument = letters:sub(i, i), KEYS[e + i], ARGV[e + i + 2]
    if letter == 'P' then
      local n = #puts
      puts[n + 1], puts[n + 2] = key, argument
    else
      close_puts()
      if letter == 'X' then
        local expire_ms, value = argument:match('(%d+) (.*)')
        commands[#commands + 1] = {'SET', key, value, 'PX', expire_ms}
      elseif letter == 'D' then
        commands[#commands + 1] = {'DEL', key}
      elseif letter == 'A' then
        commands[#commands + 1] = {'RPUSH', key, argument}
      else
        commands[#commands + 1] = {'LTRIM', key, argument, -1}
      end
    end
  end
end

local function refuse(transaction, operation, value)
  local n = #replies
  if value and type(value) ~= 'string' then value = 1 end
  replies[n + 1], replies[n + 2], replies[n + 3] = transaction, operation, value
end

close_puts()
local g, e, transaction = 0, guards, 0
for conditions, letters in ARGV[1]:gmatch('([GN]*)([PXDAF]*)%.') do
  local failed
  for i = 1, #conditions do
    local expected = conditions:sub(i, i) == 'G' and ARGV[g + i + 2]
    if state[KEYS[g + i]] ~= expected then
      failed = i
      refuse(transaction, i - 1, state[KEYS[g + i]])
      break
    end
  end
  if not failed then
    local left, misfit = after(letters, e)
    if left then
      for key, value in next, left do state[key] = value end
      plan(letters, e)
    else
      refuse(transaction, #conditions + misfit, true)
    end
  end
  g, e, transaction = g + #conditions, e + #letters, transaction + 1
end
close_puts()
for i = 1, #commands do call(unpack(commands[i])) end
return replies
