"""Ways to write an address that leads inside, and other tricks: what every protocol and every entry must refuse."""

PUBLIC, OTHER_PUBLIC = "93.184.216.34", "2606:4700:4700::1111"
# Every way to write an address that leads inside, as a host.
INSIDE = [
    *("127.0.0.1", "127.1", "127.0.1", "127.255.255.254", "2130706433", "0x7f000001", "0x7f.0.0.1", "0x7f.1"),
    *("017700000001", "0177.0.0.1", "0", "0.0.0.0", "00", "0x0", "1.2.3.4.5", "256.1.1.1", "127.0.0.1."),  # noqa: S104
    *("10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "0xa9fea9fe", "2852039166"),
    *("100.64.0.1", "168.63.129.16", "192.0.0.192", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.1"),
    *("203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
    *("[::]", "[::1]", "[::127.0.0.1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:a9fe:a9fe]"),
    *("[0:0:0:0:0:ffff:127.0.0.1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::1]", "[2002:a9fe:a9fe::]", "[2001::1]"),
    *("[2001:db8::1]", "[fc00::1]", "[fd00:ec2::254]", "[fe80::1]", "[fe80::1%25eth0]", "[fec0::1]", "[ff02::1]"),
    *("[5f00::1]", "[100::1]", "[3fff::1]", "[::1", "127.0.0.1%00.example.com", "\uff11\uff12\uff17.0.0.1"),
    *("\u2460\u2461\u2466.0.0.1", "127\u30020\u30020\u30021", "loc\u00e4lhost", "exa mple.com", "-bad.com", "bad-.com"),
    *("", ".", "..", "a..b", "_dmarc.example.com", "example.com.", "*", "[v1.fe80]"),
]
TRICKS = [
    "https://example.com\\@169.254.169.254/",
    "https://169.254.169.254\\@example.com/",
    "https://user@169.254.169.254/",
    "https://user:pass@example.com/",
    "https://example.com@127.0.0.1/",
    "https://example.com#@127.0.0.1/ x",
    "https://example.com/\r\nHost: 127.0.0.1",
    "https://example.com\t.evil.test/",
    " https://example.com/",
    "https://example.com/\x00",
    "https://example.com:22/",
    "https://example.com:8443/",
    *("https://example.com:99999/", "https://example.com:x/"),
    "https://[::1]@example.com/",
    "https:///example.com",
    "https:example.com",
    "//example.com/",
    *("example.com", ""),
    "http://example.com/",
    "HTTP://example.com/",
    *("ftp://example.com/", "file:///etc/passwd"),
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "data:text/plain,hi",
    "javascript:alert(1)",
    "https://ex\u00e4mple.com/",
    "https://example.com/\u2028",
]
ATTACKS = [*(f"https://{host}/" for host in INSIDE), *TRICKS]
# What a name must not resolve to: one address inside among public ones is enough.
LEADS_INSIDE = [
    ["127.0.0.1"],
    ["169.254.169.254"],
    ["::1"],
    ["::ffff:127.0.0.1"],
    ["64:ff9b::a9fe:a9fe"],
    [PUBLIC, "127.0.0.1"],
    ["10.0.0.1", PUBLIC],
    [PUBLIC, OTHER_PUBLIC, "fd00::1"],
]
