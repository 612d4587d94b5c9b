"""The Lua scripts of the Redis-like stores: changes that have to look at an entry first, and writing many.

A script handles many keys in one call. It takes the keys as KEYS and, as ARGV, first what is common to all of them,
then what each key needs, key by key. It returns a list with one item for each key:

* 1 for done, 0 for not done, as each script says,
* `FOREIGN` for a key whose string is no entry of this format, which is left as it is,
* the server's error as a string, such as `WRONGTYPE ...`, which has reached this key alone.

Everything comes in as data: no key and no value is part of a script, so that a server holds these six scripts in all.
The scripts look at magic, format, version and deadline as `satchel.backend.record` lays them out.
"""

from __future__ import annotations

import hashlib

FOREIGN = 2
"""Result of a script for a key whose string is not an entry of this format."""

_HEAD = """
local function head(key)
  local found = redis.pcall('GETRANGE', key, 0, 45)
  if type(found) == 'table' then return nil, found.err end
  if #found == 0 then return nil, 0 end
  if #found < 46 or string.sub(found, 1, 3) ~= '\\137S\\1' then return nil, 2 end
  return found
end
local function alive(found, now)
  return struct.unpack('>d', string.sub(found, 31, 38)) > now
end
local function set(key, value, milliseconds)
  local done
  if milliseconds == '' then
    done = redis.pcall('SET', key, value)
  else
    done = redis.pcall('SET', key, value, 'PX', milliseconds)
  end
  return done.err or 1
end
local function remove(key)
  local done = redis.pcall('UNLINK', key)
  return type(done) == 'table' and done.err or 1
end
local answers = {}
"""


class Script:
    """Lua script, which a server knows by the SHA-1 of its text once it has seen it.

    Args:
        body: What it does for the keys, between the functions that all scripts share and their `return`.
    """

    def __init__(self, body: str) -> None:
        self.text = f"{_HEAD}{body}return answers\n"
        self.digest = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


PUT = Script("""
for i, key in ipairs(KEYS) do
  answers[i] = set(key, ARGV[2 * i - 1], ARGV[2 * i])
end
""")
"""Writes. Each key: the entry, the milliseconds until the server may drop it or nothing. Gives 1."""

PUT_IF = Script("""
local now = tonumber(ARGV[1])
for i, key in ipairs(KEYS) do
  local expected, value, milliseconds = ARGV[3 * i - 1], ARGV[3 * i], ARGV[3 * i + 1]
  local found, problem = head(key)
  if problem and problem ~= 0 then
    answers[i] = problem
  else
    local version = found and alive(found, now) and string.sub(found, 7, 22) or ''
    answers[i] = version == expected and set(key, value, milliseconds) or 0
  end
end
""")
"""Writes where a condition holds. Common: now. Each key: the version expected as 16 bytes or nothing for absent, the
entry, the milliseconds as for `PUT`. Gives 1 for written."""

DELETE = Script("""
local now = tonumber(ARGV[1])
for i, key in ipairs(KEYS) do
  local expected = ARGV[i + 1]
  local found, problem = head(key)
  if problem == 2 and expected == '' then
    answers[i] = remove(key)
  elseif problem then
    answers[i] = problem
  elseif expected ~= '' and string.sub(found, 7, 22) ~= expected then
    answers[i] = 0
  else
    local lived = alive(found, now)
    answers[i] = (lived or expected == '') and remove(key) or 0
    if answers[i] == 1 and not lived then answers[i] = 0 end
  end
end
""")
"""Removes. Common: now. Each key: the version that it must have as 16 bytes, or nothing for any. Gives 1 where there
was a living entry. Without a version it also removes a string that is no entry: so one gets rid of a damaged one."""

TOUCH = Script("""
local now = tonumber(ARGV[1])
for i, key in ipairs(KEYS) do
  local deadline, milliseconds = ARGV[2 * i], ARGV[2 * i + 1]
  local found, problem = head(key)
  if problem then
    answers[i] = problem
  elseif not alive(found, now) then
    answers[i] = 0
  else
    local done = redis.pcall('SETRANGE', key, 30, deadline)
    if type(done) == 'table' then
      answers[i] = done.err
    else
      if milliseconds == '' then redis.call('PERSIST', key) else redis.call('PEXPIRE', key, milliseconds) end
      answers[i] = 1
    end
  end
end
""")
"""Sets deadlines. Common: now. Each key: the 12 bytes of the new deadline, the milliseconds as for `PUT`. Gives 1 where
there was a living entry."""

LOOK = Script("""
local now = tonumber(ARGV[1])
for i, key in ipairs(KEYS) do
  local found, problem = head(key)
  answers[i] = problem or alive(found, now) and 1 or 0
end
""")
"""Looks. Common: now. Gives 1 for a living entry; changes nothing."""

CLEAR = Script("""
local now = tonumber(ARGV[1])
for i, key in ipairs(KEYS) do
  local found, problem = head(key)
  if problem then
    answers[i] = problem
  else
    local lived = alive(found, now)
    local done = remove(key)
    answers[i] = done == 1 and not lived and 0 or done
  end
end
""")
"""Removes entries and leaves anything else. Common: now. Gives 1 where there was a living entry."""
