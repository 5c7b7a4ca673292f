-- What wrk sends, by the environment: BENCH_SHAPE, BENCH_HOST, and BENCH_HOSTS generated hosts, of which one is drawn for
-- each request. At the end one line of JSON tells what came of it.

local shapes = {
    get = { method = "GET", path = "/" },
    close = { method = "GET", path = "/", headers = { ["Connection"] = "close" } },
    post = { method = "POST", path = "/", body = string.rep("x", 1024) },
    chunked = { method = "POST", path = "/chunked", chunks = 4, chunk = string.rep("x", 256) },
    download = { method = "GET", path = "/large" },
    upload = { method = "POST", path = "/", body = string.rep("x", 1048576) },
}

local function written(shape, host)
    local headers = { ["Host"] = host, ["User-Agent"] = "bench", ["Accept"] = "*/*", ["Cookie"] = os.getenv("BENCH_COOKIE") }
    for name, value in pairs(shape.headers or {}) do headers[name] = value end
    if not shape.chunks then return wrk.format(shape.method, shape.path, headers, shape.body) end
    headers["Transfer-Encoding"] = "chunked"
    local chunk = string.format("%x\r\n%s\r\n", #shape.chunk, shape.chunk)
    return wrk.format(shape.method, shape.path, headers) .. string.rep(chunk, shape.chunks) .. "0\r\n\r\n"
end

local requests = {}

function init()
    local shape, hosts = shapes[os.getenv("BENCH_SHAPE")], tonumber(os.getenv("BENCH_HOSTS"))
    if hosts == 0 then
        requests[1] = written(shape, os.getenv("BENCH_HOST"))
    end
    for number = 0, hosts - 1 do
        requests[number + 1] = written(shape, "host-" .. number .. ".bench.test")
    end
    math.randomseed(3)
end

function request()
    return requests[#requests == 1 and 1 or math.random(#requests)]
end

function done(summary, latency)
    local errors = summary.errors
    io.write(string.format(
        '{"answers":%d,"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d,"p50_us":%d,"p99_us":%d,"max_us":%d}\n',
        summary.requests, errors.connect, errors.read, errors.write, errors.status, errors.timeout,
        latency:percentile(50), latency:percentile(99), latency.max))
end
