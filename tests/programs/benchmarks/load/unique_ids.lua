-- Requests that differ in one number. All else is made by Python beforehand, for wrk shares the cores with what
-- it measures: per request there is one concatenation.
--
-- Arguments: the file of heads, the file of the tail, the first number, and how many numbers there are before it
-- begins again (0: it never does).

local between_heads = "\n-- next head --\n"
local heads, count, tail, first, period
local sent = -1 -- wrk asks for one that it does not send

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

local function split(text)
  local parts, start = {}, 1
  while true do
    local from, to = text:find(between_heads, start, true)
    parts[#parts + 1] = text:sub(start, (from or 0) - 1)
    if not from then
      return parts
    end
    start = to + 1
  end
end

function init(args)
  heads = split(read(args[1]))
  count, tail, first, period = #heads, read(args[2]), tonumber(args[3]), tonumber(args[4])
end

function request()
  local offset = sent
  if period > 0 then
    offset = sent % period
  end
  sent = sent + 1
  return heads[offset % count + 1] .. (first + offset) .. tail
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"answers": %d, "seconds": %.6f, "refused": %d, "broken": %d, "p50_ms": %.3f, "p99_ms": %.3f}\n',
    summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
