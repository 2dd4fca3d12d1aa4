# What wrapper.sh needs of JSON, for busybox awk. -v mode= says what, -v file= names the input:
#   metrics  the usable numbers of metrics.json as one line of JSON, and a line that says what is
#            ignored of it, empty if nothing (engines/local/metrics.py says the same)
#   marker   its metrics, warnings and gpuSeconds, a line each, if it is the marker of `key` and
#            names exactly the files of `list`; else exit code 1, and the first file that differs.
#            To `sums` go the digests that it has, as sha256sum reads them
#   facts    a line for each artifact of `file`, a sorted list of markers: its path, its state, the bytes
#            of its files, and the keys of its base, dataset and artifact ("-": none); or that it is
#            unreadable. Then a line for each of the file `closed`, and "end", the number of lines, and
#            that of the artifacts with `left` added
#   warning  the environment's reason and said as a warning of the marker
#   files    a listing ("SIZE/./PATH" or "SIZE/SHA256/./PATH") as the members of "files"; exit
#            code 1 for a name not UTF-8
#   report   the termination message, from the environment and the last of the output
#
# Strict (RFC 8259), by bytes, and by lines, as no token holds a line end: a marker of 100,000
# files is read in one pass.
BEGIN {
    for (i = 1; i < 256; i++) ord[sprintf("%c", i)] = i
    special = "[\"\\\\\001-\037\177-\377]"
    if (mode == "metrics") show_metrics()
    else if (mode == "marker") check_marker()
    else if (mode == "facts") show_facts()
    else if (mode == "files") show_files()
    else if (mode == "warning") print warning(ENVIRON["reason"], ENVIRON["said"])
    else report()
}
function utf8(s, i,   b, n, k, c) { # the length of the character at byte i, 0 if it is none
    b = ord[substr(s, i, 1)]
    if (b < 128) { cp = b; return 1 }
    n = b < 194 ? 0 : b < 224 ? 2 : b < 240 ? 3 : b < 245 ? 4 : 0
    if (!n) return 0
    cp = b % (n == 2 ? 32 : n == 3 ? 16 : 8)
    for (k = 1; k < n; k++) {
        c = ord[substr(s, i + k, 1)]
        if (c < 128 || c > 191) return 0
        cp = cp * 64 + c - 128
    }
    if ((n == 3 && cp < 2048) || (n == 4 && cp < 65536)) return 0
    return (cp > 1114111 || (cp >= 55296 && cp <= 57343)) ? 0 : n
}
function chr(n) {
    if (n < 128) return sprintf("%c", n)
    if (n < 2048) return sprintf("%c%c", 192 + int(n / 64), 128 + n % 64)
    if (n < 65536)
        return sprintf("%c%c%c", 224 + int(n / 4096), 128 + int(n / 64) % 64, 128 + n % 64)
    return sprintf("%c%c%c%c", 240 + int(n / 262144), 128 + int(n / 4096) % 64, \
        128 + int(n / 64) % 64, 128 + n % 64)
}
function quote(s,   out, i, n, c) {
    if (s !~ special) return "\"" s "\""
    for (i = 1; i <= length(s); i += n) {
        n = utf8(s, i)
        c = substr(s, i, n)
        if (!n) { broken = 1; n = 1; c = "\357\277\275" }
        else if (c == "\"" || c == "\\") c = "\\" c
        else if (cp < 32) c = sprintf("\\u%04x", cp)
        out = out c
    }
    return "\"" out "\""
}
function unhex(s,   i, n, d) {
    for (i = 1; i <= 4; i++) {
        d = index("0123456789abcdef", tolower(substr(s, i, 1)))
        if (!d || length(s) < 4) return -1
        n = n * 16 + d - 1
    }
    return n
}
function hide(n) { # what Python calls not printable, but for code points not yet assigned
    return n < 32 || (n > 126 && n < 161) || n == 173 || (n > 1535 && n < 1542) || n == 1564 || \
        n == 1757 || n == 1807 || n == 5760 || n == 6158 || (n > 8191 && n < 8208) || \
        (n > 8231 && n < 8240) || (n > 8286 && n < 8304) || n == 12288 || \
        (n > 55295 && n < 63744) || n == 65279 || (n > 65528 && n < 65532) || n > 917503
}
function decode(s,   out, i, n, c, low) { # sets chars, hidden; failed where it is no string
    chars = length(s); hidden = 0
    if (s !~ special) return s
    chars = 0
    for (i = 1; i <= length(s); i += n) {
        n = utf8(s, i)
        if (!n || cp < 32) { failed = 1; return "" }
        c = substr(s, i, n)
        if (c == "\\") {
            n = 2; c = substr(s, i + 1, 1); low = index("\"\\/bfnrt", c)
            if (c == "u") {
                n = 6; cp = unhex(substr(s, i + 2, 4)); low = unhex(substr(s, i + 8, 4))
                if (cp >= 55296 && cp < 56320 && substr(s, i + 6, 2) == "\\u" && \
                    low >= 56320 && low < 57344) {
                    n = 12; cp = 65536 + (cp - 55296) * 1024 + low - 56320
                }
                if (cp < 1 || (cp >= 55296 && cp < 57344)) { failed = 1; return "" }
                c = chr(cp)
            } else if (low) {
                c = substr("\"\\/\b\f\n\r\t", low, 1); cp = ord[c]
            } else { failed = 1; return "" }
        }
        chars++
        if (hide(cp)) hidden = 1
        out = out c
    }
    return out
}
function token() { # sets T, its type, and V, its text
    while (rest ~ /^[ \t\r]*$/) {
        if ((getline rest < file) <= 0) { T = "end"; return }
        # Editors of Windows put a byte order mark before the text.
        if (mode == "metrics" && !begun++) sub(/^\357\273\277/, "", rest)
    }
    sub(/^[ \t\r]+/, "", rest)
    T = substr(rest, 1, 1)
    if (index("{}[]:,", T)) { rest = substr(rest, 2); return }
    if (match(rest, /^"([^"\\]|\\.)*"/)) T = "string"
    else if (mode == "metrics" && match(rest, /^(NaN|-?Infinity)/)) T = "number" # as Python writes
    else if (match(rest, /^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?/)) T = "number"
    else if (match(rest, /^(true|false|null)/)) T = "word"
    else { T = "bad"; failed = 1; return }
    V = T == "string" ? substr(rest, 2, RLENGTH - 2) : substr(rest, 1, RLENGTH)
    rest = substr(rest, RLENGTH + 1)
}
function expect(wanted) { if (T != wanted) failed = 1; return !failed }
function value(kind, depth,   name, close_, child) {
    if (depth > 200) failed = 1
    if (T == "string" && V ~ /[\001-\037]/) failed = 1
    if (T != "{" && T != "[") { if (!index("string number word", T)) failed = 1; return }
    close_ = T == "{" ? "}" : "]"
    token()
    if (T == close_) return
    while (!failed) {
        child = kind == "files" ? "file" : kind == "warnings" ? "warning" : "any"
        if (close_ == "}") {
            if (!expect("string")) return
            if (length(V) > 20000) { failed = 1; return }
            name = kind == "any" ? V : decode(V)
            if (kind == "marker" && name ~ /^(files|metrics|warnings|base|dataset|artifact)$/) child = name
            odd = hidden || chars < 1 || chars > 100
            token()
            if (!expect(":")) return
            token()
        }
        if (kind == "metrics" && mode != "facts") number(name)
        else if (kind ~ /^(marker|file|warning|base|dataset|artifact)$/) {
            at[kind, name] = V; type[kind, name] = T
        }
        value(child, depth + 1)
        if (child == "file") one_file()
        if (child == "warning") one_warning()
        token()
        if (T == close_) return
        if (!expect(",")) return
        token()
    }
}
function number(name,   n) { # of values by name the last one counts, as in Python
    if (!(name in seen)) { order[++count] = name; seen[name] }
    delete measured[name]
    n = V + 0
    if (odd) ignored[name] = "a name is not of 1 to 100 printable characters"
    else if (T != "number") ignored[name] = "\"" name "\" is " (T == "{" ? "an object" : \
        T == "[" ? "a list" : T == "string" ? "a string" : V == "null" ? V : "a boolean")
    else if (V == "NaN") ignored[name] = "\"" name "\" is NaN"
    else if (V ~ /y$/ || n > 1.7976931348623157e308 || n < -1.7976931348623157e308)
        ignored[name] = "\"" name "\" is infinite"
    else measured[name] = length(V) > 30 ? sprintf("%.17g", n) : V
}
function metrics(   i, out, n) { # and sets `lost`, what is ignored
    for (i = 1; i <= count; i++) {
        if (!(order[i] in measured)) lose(ignored[order[i]])
        else if (n == 100) lose("\"" order[i] "\" is beyond the first 100")
        else out = out (n++ ? ", " : "") quote(order[i]) ": " measured[order[i]]
    }
    return "{" out "}"
}
function lose(why) { if (++losses <= 3) lost = lost (losses > 1 ? ", " : "") why }
function warning(reason, text) { return "{\"reason\": " quote(reason) ", \"message\": " quote(text) "}" }
function one_warning() {
    if (type["warning", "reason"] == "string" && type["warning", "message"] == "string")
        warnings = warnings (warnings ? ", " : "") \
            warning(decode(at["warning", "reason"]), decode(at["warning", "message"]))
    delete type["warning", "reason"]; delete type["warning", "message"]
}
function one_file(   path, there) {
    path = decode(at["file", "path"])
    bytes += at["file", "size"]
    if (mode == "facts") return
    if ((getline line < list) <= 0) line = ""
    if (line != at["file", "size"] "/./" path || type["file", "path"] != "string") {
        there = substr(line, index(line, "/./") + 3)
        if (!failed) wrong = line != "" && there < path ? there : path
        failed = 1
    }
    if (sums && type["file", "sha256"] == "string" && length(at["file", "sha256"]) == 64)
        print at["file", "sha256"] "  ./" path > sums
    delete at["file", "size"]; delete at["file", "path"]
    delete at["file", "sha256"]; delete type["file", "sha256"]
}
function show_metrics(   out) {
    token()
    if (T == "end") failed = 1
    if (!failed && T != "{") why = "metrics.json is not an object such as {\"accuracy\": 0.97}"
    else { value("metrics", 0); token(); expect("end") }
    if (failed) why = "metrics.json is not JSON"
    if (why) { print "{}"; print why; exit }
    print metrics()
    if (losses) out = "metrics.json: " losses " of " count " values are ignored: " lost
    print out (losses > 3 ? ", and " losses - 3 " more" : "")
}
function check_marker() {
    if (sums) printf "" > sums
    token(); expect("{"); value("marker", 0); token(); expect("end")
    if ((getline line < list) > 0) { # a file that the marker does not name
        if (!failed) wrong = substr(line, index(line, "/./") + 3)
        failed = 1
    }
    check_kind()
    if (failed) { print wrong; exit 1 }
    print metrics()
    print warnings
    print type["marker", "gpuSeconds"] == "number" ? at["marker", "gpuSeconds"] : 0
}
function check_kind() {
    if (type["marker", "key"] != "string" || at["marker", "key"] != key) failed = 1
    if (type["marker", "files"] != "[" || at["marker", "version"] "" != "1") failed = 1
}
function show_facts(   markers, line, name, place, last, marker, got, lines) {
    state["completed.json"] = "complete"
    state[".reconciler-collected.json"] = "hidden"
    state[".reconciler-removing.json"] = "removing"
    for (markers = file; (got = (getline line < markers)) > 0; ) {
        name = substr(line, match(line, /[^\/]*$/))
        place = substr(line, 3, length(line) - length(name) - 3)
        if (!(name in state) || place ~ /[^a-z0-9.\/-]/) continue # no name of ours
        if (place != last) { one_artifact(last, marker); marker = "" }
        last = place
        # In the order of bytes "completed.json" is the last one, "removing" behind "collected".
        if (marker == "" || name == "completed.json") marker = name
    }
    if (got < 0) exit 1 # what is not listed would count as gone
    one_artifact(last, marker)
    for (lines = artifacts; (got = (getline line < closed)) > 0; lines++) print line, "closed"
    if (got < 0) exit 1
    printf "end %d %d\n", lines, artifacts + left
}
function one_artifact(place, marker) {
    if (marker == "") return
    artifacts++
    file = place "/" marker
    key = substr(place, match(place, /[^\/]*$/))
    print place, facts(state[marker])
    close(file)
}
function facts(named,   base, dataset, artifact) { # of the marker in `file`
    rest = warnings = ""; bytes = failed = 0
    split("", at); split("", type)
    token(); expect("{"); value("marker", 0); token(); expect("end")
    check_kind()
    base = input("base"); dataset = input("dataset"); artifact = input("artifact")
    if (failed) return "unreadable"
    return sprintf("%s %.0f %s %s %s", named, bytes, base, dataset, artifact)
}
function input(of) { # the key of an input
    if (type["marker", of] == "" || at["marker", of] == "null" && type["marker", of] == "word") return "-"
    if (type["marker", of] != "{" || type[of, "key"] != "string") failed = 1
    return at[of, "key"]
}
function show_files(   slash, line, of) {
    while ((getline line < file) > 0) {
        slash = index(line, "/./")
        split(substr(line, 1, slash - 1), of, "/")
        printf "%s\n  {\"path\": %s, \"size\": %s%s}", seen++ ? "," : "", \
            quote(substr(line, slash + 3)), of[1], of[2] == "" ? "" : ", \"sha256\": \"" of[2] "\""
        if (broken) exit 1
    }
}
function clean(s) {
    gsub(/\033\[[0-9;?]*[A-Za-z]/, "", s)
    gsub("\t", " ", s)
    gsub("[\001-\037\177]", "", s)
    gsub(/^ +| +$/, "", s)
    return s
}
function bounded(s, room,   out, n) { # as JSON of at most `room` bytes; its end is kept
    out = quote(s)
    while (length(out) > room) {
        n = int(length(s) / 8) + 1
        while (ord[substr(s, n + 1, 1)] > 127 && ord[substr(s, n + 1, 1)] < 192) n++
        s = substr(s, n + 1)
        out = "\"\342\200\246" substr(quote(s), 2)
    }
    return out
}
function last_line(   line, n, i, part, last) {
    while ((getline line < file) > 0) {
        n = split(line, part, "\r")
        for (i = 1; i <= n; i++) if (clean(part[i]) != "") last = part[i]
    }
    return last
}
function redact(s,   n, m, i, j, name, part, p, size, out, hide) { # as reconciler/redaction.py
    n = split(ENVIRON["RECONCILER_SECRETS"], name, " ")
    for (i = 1; i <= n; i++) {
        forms(ENVIRON[name[i]])
        m = split(ENVIRON[name[i]], part, "\n")
        for (j = 1; m > 1 && j <= m; j++) forms(part[j])
    }
    for (p in piece) sizes[length(p)]
    for (size in sizes) for (i = 1; i <= length(s) - size + 1; i++) {
        p = substr(s, i, size)
        if (p in piece) for (j = i - before[p]; j < i + size + after[p]; j++) hide[j]
    }
    for (i = 1; i <= length(s); i++)
        out = out (!(i in hide) ? substr(s, i, 1) : (i - 1 in hide) && i > 1 ? "" : "***")
    return out
}
function forms(s,   i, n, c, back, hex, percent) { # pieces of a secret in each form
    if (length(s) < 4) return
    for (i = 1; i <= length(s); i++) {
        c = substr(s, i, 1)
        back = c back
        hex = hex sprintf("%02x", ord[c])
        percent = percent (c ~ /[A-Za-z0-9_.~-]/ ? c : sprintf("%%%02X", ord[c]))
    }
    pieces(s); pieces(back); pieces(hex); pieces(toupper(hex)); pieces(percent)
    c = quote(s)
    pieces(substr(c, 2, length(c) - 2))
    for (n = 0; n < 3; n++) { # one digit on each side may depend on it too
        c = digits(s, n)
        pieces(c, n > 0, (length(s) + n) % 3 > 0)
        gsub(/\+/, "-", c)
        gsub("/", "_", c)
        pieces(c, n > 0, (length(s) + n) % 3 > 0)
    }
}
function pieces(s, first, last,   i, size) {
    size = length(s) < 8 ? length(s) : 8
    for (i = 1; i <= length(s) - size + 1; i++) piece[substr(s, i, size)]
    if (first) before[substr(s, 1, size)] = 1
    if (last) after[substr(s, length(s) - size + 1)] = 1
}
function digits(s, shift,   out, i, n, v, bits, d, unit) { # its base64 after `shift` other bytes
    n = length(s) + shift
    for (i = 1; i <= n; i++) {
        v = v * 256 + (i > shift ? ord[substr(s, i - shift, 1)] : 0)
        for (bits += 8; bits >= 6; v -= d * unit) { # busybox may be without powers
            bits -= 6
            unit = bits == 0 ? 1 : bits == 2 ? 4 : bits == 4 ? 16 : 64
            d = int(v / unit)
            out = out substr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", d + 1, 1)
        }
    }
    return substr(out, int((8 * shift + 5) / 6) + 1)
}
function report(   out, last) {
    out = "{\"v\": 1, \"state\": \"" ENVIRON["state"] "\", \"attempt\": " ENVIRON["attempt"]
    if (ENVIRON["code"] != "") out = out ", \"exitCode\": " ENVIRON["code"]
    if (ENVIRON["seconds"] != "") out = out ", \"seconds\": " ENVIRON["seconds"]
    out = out ", \"gpuSeconds\": " ENVIRON["total"]
    if (ENVIRON["class"] != "") out = out ", \"class\": \"" ENVIRON["class"] "\""
    if (ENVIRON["reason"] != "") out = out ", \"reason\": \"" ENVIRON["reason"] "\""
    if (ENVIRON["lost"] != "") out = out ", \"input\": \"" ENVIRON["lost"] "\""
    if (ENVIRON["said"] != "") out = out ", \"message\": " bounded(clean(ENVIRON["said"]), 900)
    if (ENVIRON["class"] != "") last = redact(clean(last_line()))
    if (last != "") out = out ", \"last\": " bounded(last, 1200)
    told = ENVIRON["warnings"]
    if (ENVIRON["metrics"] != "")
        out = out ", \"metrics\": {" fitting(ENVIRON["metrics"], 3800 - length(out told)) "}"
    if (unfit) told = told (told ? ", " : "") warning("MetricsIgnored", unfit " of " fit + unfit \
        " metrics do not fit into the message of a container; completed.json has them all")
    if (told != "") out = out ", \"warnings\": [" told "]"
    print out "}"
}
function fitting(text, room,   out, pair) { # the first metrics, in `room` bytes
    while (match(text, /"([^"\\]|\\.)*": [-+.0-9eE]+/)) {
        pair = substr(text, RSTART, RLENGTH)
        text = substr(text, RSTART + RLENGTH)
        if (unfit || length(out pair) > room) { unfit++; continue }
        out = out (fit++ ? ", " : "") pair
    }
    return out
}
