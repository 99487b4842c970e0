"""
Many who wait, one who fetches
==============================

A cached coroutine function is still a coroutine function. Of the tasks that await the
same call at once, one makes it, and the others get its result. Here thirty tasks want
three pages of a slow server.
"""

import asyncio
import tempfile
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import matplotlib.pyplot as plt

from cachekit import Memory

folder = tempfile.TemporaryDirectory()
memory = Memory(folder.name)
requests = []


class SlowPages(BaseHTTPRequestHandler):
    def do_GET(self):
        requests.append(self.path)
        time.sleep(0.5)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"the page {self.path}".encode())

    def log_message(self, *arguments):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), SlowPages)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f"http://127.0.0.1:{server.server_port}"


def get(url):
    with urllib.request.urlopen(url) as answer:
        return answer.read().decode()


@memory.cache(ignore=["address"])
async def fetch(path, address):
    return await asyncio.to_thread(get, address + path)


# %%
# Each task begins a little later than the one before. Those that begin after the page
# is there do not wait at all.


async def want(path, delay, started):
    await asyncio.sleep(delay)
    begin = time.perf_counter() - started
    text = await fetch(path, address)
    return path, begin, time.perf_counter() - started, text


async def want_all():
    started = time.perf_counter()
    wishes = [(("/a", "/b", "/c")[n % 3], 0.03 * n, started) for n in range(30)]
    return await asyncio.gather(*(want(*wish) for wish in wishes))


answers = asyncio.run(want_all())
server.shutdown()
server.server_close()
print(len(answers), "answers,", len(requests), "requests")

# %%

figure, axes = plt.subplots(figsize=(4.5, 3.4), layout="constrained")
colours = {"/a": "#0072b2", "/b": "#e69f00", "/c": "#009e73"}
for row, (path, begin, end, _) in enumerate(answers):
    label = f"page {path}" if row < 3 else None
    axes.plot([begin, end], [row, row], color=colours[path], marker="|", label=label)
axes.set_xlabel("time (s): from asking to the answer")
axes.set_ylabel("task")
axes.invert_yaxis()
figure.legend(loc="outside upper center", ncols=3, frameon=False)
axes.spines[["top", "right"]].set_visible(False)
plt.show()

folder.cleanup()
