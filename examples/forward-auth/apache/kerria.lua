-- Asks Kerria whether a request may pass. If not, Kerria's answer is the client's.

local http = require "socket.http"
local ltn12 = require "ltn12"
http.TIMEOUT = 5

local kerria = "http://127.0.0.1:8080/forward-auth"

-- The port that visitors use, whatever a client says.
local port = 8000

-- What is about the connection, and not about the request.
local own = {
  ["connection"] = true, ["content-length"] = true, ["expect"] = true, ["host"] = true, ["keep-alive"] = true,
  ["te"] = true, ["trailer"] = true, ["transfer-encoding"] = true, ["upgrade"] = true,
}

-- What the application is told instead of what the client has sent.
local told = {"Remote-User", "Remote-Name", "Remote-Email", "Remote-Groups", "Remote-Jwt", "Cookie", "Authorization"}

-- What a client says of another host, path or method. Apache tells the application of the first three itself.
local forwarded = {
  "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Server", "X-Forwarded-Method", "X-Forwarded-Proto", "X-Forwarded-Uri",
}

function ask_kerria(r)
  local headers, upgrade = {}, false
  for name, value in pairs(r:headers_in_table()) do
    local small = name:lower()
    upgrade = upgrade or small == "upgrade"
    if not own[small] then
      headers[small] = value
    end
  end
  -- Who opens a WebSocket is answered, not sent to sign in.
  if upgrade then
    headers["sec-fetch-mode"] = "websocket"
  end
  headers["connection"] = "close"
  headers["x-forwarded-method"] = r.method
  headers["x-forwarded-proto"] = r.is_https and "https" or "http"
  headers["x-forwarded-host"] = r.hostname .. ":" .. port
  headers["x-forwarded-uri"] = r.unparsed_uri
  headers["x-forwarded-for"] = r.useragent_ip

  local page = {}
  local _, status, answer = http.request{url = kerria, headers = headers, redirect = false, sink = ltn12.sink.table(page)}
  if status == 200 then
    for _, name in ipairs(told) do
      local value = answer[name:lower()]
      r.headers_in[name] = (value and value ~= "") and value or nil
    end
    for _, name in ipairs(forwarded) do
      r.headers_in[name] = nil
    end
    return apache2.OK
  end

  -- Without an answer, nothing is known.
  if type(status) ~= "number" or status < 300 then
    return 503
  end
  for _, name in ipairs({"Location", "Set-Cookie", "Cache-Control", "WWW-Authenticate", "Retry-After", "Content-Security-Policy"}) do
    local value = answer[name:lower()]
    if value then
      r.err_headers_out[name] = value
    end
  end
  r.status = status
  r.content_type = answer["content-type"] or "text/plain"
  r:puts(table.concat(page))
  return apache2.DONE
end
