"""What pylibmc and pymemcache make of a server: one line of JSON.

Arguments: client, port, protocol (text or binary), user, password.
"""
import json
import sys

client, port = sys.argv[1], int(sys.argv[2])
protocol, user, password = (sys.argv[3:] + ["", "", ""])[:3]
seen = {}


def attempt(call, *arguments, **options):
    """What a call returns, or the name of the error that it raises."""
    try:
        return call(*arguments, **options)
    except Exception as error:
        return type(error).__name__


if client == "pylibmc":
    import pylibmc

    options = {"binary": protocol == "binary"}
    if user:
        options.update(username=user, password=password)
    mc = pylibmc.Client(["127.0.0.1:%d" % port], behaviors={"tcp_nodelay": True, "cas": True, "remove_failed": 4}, **options)
    seen["set"] = mc.set("text", "hallo")
    seen["get"] = mc.get("text")
    seen["number"] = [mc.set("n", 5), mc.incr("n", 3), mc.decr("n", 100), mc.get("n")]
    seen["object"] = [mc.set("o", {"a": [1, None]}), mc.get("o")]
    seen["add"] = [attempt(mc.add, "text", "x"), mc.add("new", "x")]
    seen["replace"] = [mc.replace("new", "y"), attempt(mc.replace, "none", "y")]
    seen["append"] = [mc.set("raw", "b"), mc.append("raw", "c"), mc.prepend("raw", "a"), mc.get("raw")]
    seen["many"] = [mc.set_multi({"k%d" % i: i for i in range(50)}), sum(mc.get_multi(["k%d" % i for i in range(60)]).values())]
    seen["delete"] = [mc.delete("new"), attempt(mc.delete, "new"), mc.delete_multi(["k1", "k2"])]
    value, cas = mc.gets("text")
    seen["cas"] = [value, mc.cas("text", "swapped", cas), mc.get("text")]
    seen["touch"] = mc.touch("text", 100)
    seen["large"] = [mc.set("large", "x" * 900000, min_compress_len=0), len(mc.get("large"))]
    seen["compressed"] = [mc.set("c", "x" * 100000, min_compress_len=1), len(mc.get("c"))]
    seen["huge"] = attempt(mc.set, "huge", "".join(chr(33 + (i * 7919) % 90) for i in range(1200000)))
    seen["stats"] = "curr_items" in mc.get_stats()[0][1] or b"curr_items" in mc.get_stats()[0][1]
    seen["flush"] = [mc.flush_all(), mc.get("text")]
else:
    from pymemcache.client.base import Client

    mc = Client(("127.0.0.1", port), no_delay=True, default_noreply=False)
    seen["set"] = mc.set("text", "hallo")
    seen["get"] = mc.get("text").decode()
    seen["number"] = [mc.set("n", "5"), mc.incr("n", 3), mc.decr("n", 100), mc.incr("none", 1)]
    seen["add"] = [attempt(mc.add, "text", "x"), mc.add("new", "x")]
    seen["replace"] = [mc.replace("new", "y"), attempt(mc.replace, "none", "y")]
    seen["append"] = [mc.set("raw", "b"), mc.append("raw", "c"), mc.prepend("raw", "a"), mc.get("raw").decode()]
    seen["many"] = [mc.set_many({"k%d" % i: str(i) for i in range(50)}), len(mc.get_many(["k%d" % i for i in range(60)]))]
    value, cas = mc.gets("text")
    seen["cas"] = [value.decode(), mc.cas("text", "swapped", cas), mc.cas("text", "again", cas)]
    seen["touch"] = [mc.touch("text", 100), mc.touch("none", 100)]
    seen["delete"] = [mc.delete("new"), attempt(mc.delete, "new")]
    seen["noreply"] = [mc.set("q", "1", noreply=True), mc.get("q").decode()]
    seen["stats"] = b"curr_items" in mc.stats()
    seen["version"] = mc.version().decode()
    seen["large"] = [mc.set("large", "x" * 900000), len(mc.get("large"))]
    seen["flush"] = [mc.flush_all(), mc.get("text")]

print(json.dumps(seen))
