-- Asks Kerria whether a request may pass. If not, Kerria's answer is the client's.

-- What is about the connection, and not about the request.
local own = {"connection", "content-length", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}

-- What the application is told instead of what the client has sent.
local told = {"remote-user", "remote-name", "remote-email", "remote-groups", "remote-jwt", "cookie", "authorization"}

core.register_action("ask_kerria", {"http-req"}, function(txn, url)
  local headers = {}
  for name, values in pairs(txn.http:req_get_headers()) do
    headers[name] = {}
    for at = 0, #values do
      table.insert(headers[name], values[at])
    end
  end
  -- Who opens a WebSocket is answered, not sent to sign in.
  if headers["upgrade"] then
    headers["sec-fetch-mode"] = {"websocket"}
  end
  for _, name in ipairs(own) do
    headers[name] = nil
  end
  headers["x-forwarded-method"] = {txn.f:method()}
  headers["x-forwarded-proto"] = {txn.f:ssl_fc() == 1 and "https" or "http"}
  headers["x-forwarded-host"] = {txn.sf:req_fhdr("host")}
  headers["x-forwarded-uri"] = {txn.sf:pathq()}
  headers["x-forwarded-for"] = {txn.sf:src()}

  local answer = core.httpclient():get{url = url, headers = headers, timeout = 5000}
  if answer.status == 200 then
    for _, name in ipairs(told) do
      local values = answer.headers[name]
      txn.http:req_del_header(name)
      if values and values[0] ~= "" then
        txn.http:req_set_header(name, values[0])
      end
    end
    return
  end

  -- Without an answer, nothing is known.
  local status = answer.status >= 300 and answer.status or 503
  local reply = txn:reply{status = status, body = answer.body}
  for _, name in ipairs({"location", "set-cookie", "www-authenticate", "retry-after", "content-type", "content-security-policy"}) do
    local values = answer.headers and answer.headers[name]
    if values then
      reply:add_header(name, values[0])
    end
  end
  reply:add_header("cache-control", "no-store")
  txn:done(reply)
end, 1)
