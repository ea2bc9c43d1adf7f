-- Arguments: a file of tokens, one a line, or "" to send the same request again and again; then "random" or "in-order";
-- then the first line to take. Or a file of whole cookies of any length, and "cookies": they are taken at random. At the end one
-- line with what the lab reads.

local line_length = 59

function init(arguments)
  local path, order = arguments[1], arguments[2]
  if not path or path == "" then return end
  local file = assert(io.open(path))
  math.randomseed(os.time())
  if order == "cookies" then
    local requests = {}
    for cookie in file:lines() do
      table.insert(requests, "GET " .. wrk.path .. " HTTP/1.1\r\nHost: localhost\r\nCookie: " .. cookie .. "\r\n\r\n")
    end
    file:close()
    request = function() return requests[math.random(#requests)] end
    return
  end
  local tokens = file:read("*a")
  file:close()
  local lines = #tokens / line_length
  local line = tonumber(arguments[3]) - 1
  local before = "GET " .. wrk.path .. " HTTP/1.1\r\nHost: localhost\r\nCookie: kerria="
  request = function()
    line = order == "random" and math.random(0, lines - 1) or (line + 1) % lines
    local at = line * line_length
    return before .. tokens:sub(at + 1, at + line_length - 1) .. "\r\n\r\n"
  end
end

function done(summary, latency, _)
  local errors = summary.errors
  local broken = errors.connect + errors.read + errors.write + errors.timeout
  print(string.format("lab %d %d %.1f %.1f %d %d", summary.requests, summary.duration, latency:percentile(50),
    latency:percentile(99), errors.status, broken))
end
