-- wrk: one JSON message of 189 bytes per request.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"device":"sensor-000042","temperature":21.375,"humidity":48.1,"pressure":1013.25,"battery":3.71,"rssi":-67,' ..
  '"status":"ok","sequence":123456789,"location":{"lat":52.5200066,"lon":13.404954}}'
