"""The strings of tests/text/data/strings.jsonl; see make_text_goldens.py.

Written for this purpose and generated from a fixed seed: many scripts, code, whitespace, numbers,
contractions, look-alikes of special tokens, long words, marks, control characters, broken bytes,
and mixtures of all of them.
"""

import sys
import unicodedata

SENTENCES = [
    "The quick brown fox jumps over the lazy dog, and nobody asks why it didn't simply walk around.",
    "I'm sure they'll say we've met; she'd rather he weren't told what's going on, y'know?",
    "WE'RE NOT SHOUTING, IT'S JUST THE WAY SHE'LL HEAR IT. I'VE SAID SO, I'D SAY SO AGAIN, I'M DONE.",
    "Les élèves naïfs de l’école préfèrent où l’été commence; ça coûte 12,50 € aujourd’hui.",
    "Größe, Übermut und Maßstäbe: Straßenbahnhaltestellenfahrplan hängt schief.",
    "El pingüino comió ñandúes mañana por la mañana, ¿verdad? ¡Qué sorpresa!",
    "Zażółć gęślą jaźń, a potem idź spać. Příliš žluťoučký kůň úpěl ďábelské ódy.",
    "Съешь же ещё этих мягких французских булок, да выпей чаю. Объём подъезда — 42 м³.",
    "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία, και μετά πίνω καφέ.",
    "天地玄黄，宇宙洪荒。日月盈昃，辰宿列张。今天的天气怎么样？我想去公园散步。",
    "人工智慧將改變世界，但「風險」也不小。價格：３８００元（含稅）",
    "いろはにほへと ちりぬるを。カタカナとひらがなと漢字が混ざった文章です。ｶﾀｶﾅも！",
    "키스의 고유조건은 입술끼리 만나야 하고 특별한 기술은 필요치 않다.",
    "نص حكيم له سر قاطع وذو شأن عظيم مكتوب على ثوب أخضر ومغلف بجلد أزرق ١٢٣٤٥",
    "דג סקרן שט בים מאוכזב ולפתע מצא חברה, שָׁלוֹם עֲלֵיכֶם.",
    "यहाँ पर हिन्दी का एक वाक्य है, जिसमें संयुक्ताक्षर और मात्राएँ हैं। १२३",
    "আমি বাংলায় গান গাই, আমি বাংলার গান গাই।",
    "เป็นมนุษย์สุดประเสริฐเลิศคุณค่า กว่าบรรดาฝูงสัตว์เดรัจฉาน",
    "Tôi có thể ăn thủy tinh mà không hại gì. Việt Nam đẹp lắm!",
    "மொழி இனிமையானது. தமிழ் எழுத்துக்கள் அழகானவை.",
    "ქართული ენა ძალიან ლამაზია. Հայերենը հին լեզու է։ አማርኛ ፊደል",
    "𝒯𝒽ℯ 𝔮𝔲𝔦𝔠𝔨 𝕓𝕣𝕠𝕨𝕟 𝖋𝖔𝖝 ｆｕｌｌｗｉｄｔｈ ﬁ ﬂ ǅ ǆ Ǆ ß ẞ ſ K Å",
    "🇫🇷🇯🇵 👩‍👩‍👧‍👦 👨🏿‍💻 🏳️‍🌈 ❤️‍🔥 👍🏽 1️⃣2️⃣ 🫠 ©️ ™ ☎️ 🧑🏻‍🤝‍🧑🏿",
    "∀x∈ℝ: ⌈x⌉ = −⌊−x⌋, α ∧ ¬β = ¬(¬α ∨ β), ∑ᵢ₌₁ⁿ i² ≈ n³⁄3 ≠ ∞ ± √2·π",
    "«Цитата», “quotes”, ‘single’, „unten“, ‚so‘, — – - ‐ … ‽ • § ¶ † ‡ ′ ″",
]

CODE = [
    "def fib(n: int) -> int:\n    \"\"\"Naïve.\"\"\"\n    return n if n < 2 else fib(n - 1) + fib(n-2)\n",
    "for (size_t i = 0; i < n; ++i) {\n\tsum += a[i]*b[i];  // dot\n}\n",
    "template <typename T, typename = std::enable_if_t<!std::is_same_v<T, void>>>\nauto f(T&& x);",
    "fn main() -> Result<(), Box<dyn std::error::Error>> { let x: Vec<_> = (0..10).collect(); Ok(()) }",
    "SELECT u.id, COUNT(*) AS n FROM users u LEFT JOIN orders o ON o.user_id=u.id WHERE n>=10;",
    "<div class=\"a b\" id='x'>\n  <p>Hello&nbsp;world &amp; all</p>\n</div><!-- end -->",
    "{\"key\": [1, 2.5e-3, null, true], \"nested\": {\"a\": \"\\u00e9\\n\"}}",
    "$ git log --oneline | head -n 5 && echo \"$HOME\" > /tmp/out 2>&1 || exit 1",
    "#include <stdio.h>\r\nint main(void) {\r\n\tprintf(\"%d\\n\", 0x1F);\r\n\treturn 0;\r\n}\r\n",
    "const f = async ({a, b = 2, ...rest}) => `${a?.b ?? 'none'} ${rest[0]}`; // ok",
    "\\begin{equation} E = mc^2 \\label{eq:1} \\end{equation} % note",
    "| a | b |\n|---|:-:|\n| 1 | `x` |\n\n- [ ] todo\n- [x] done\n\n```py\nprint(1)\n```\n",
    "SELF.assertEqual(camelCaseName, snake_case_name, HTTPServerError404, x86_64, iPhone15ProMax)",
    "    if x:\n        if y:\n            return\n\n\n    else:\n\t\tpass",
    "2001:db8::ff00:42:8329 192.168.0.1/24 user.name+tag@example.co.uk https://a.b/c?d=e&f=%20#g",
    "0b1010 0o17 0xDEADBEEF 1_000_000 3.14159e-10 .5 5. 1/2 50% $9.99 #123 v1.2.3-rc.4+build",
]

SPECIALS = [
    "<|im_end|>", "<|im_start|>", "<|endoftext|>", "<|im_end", "<|im_end|", "|im_end|>", "<|IM_END|>",
    "<|im_start|>user\n", "<|im_<|im_end|>end|>", "<|im_end|><|im_end|>", " <|im_end|> ", "<repo_name>",
    "<reponame>", "<file_sep>", "<jupyter_start>", "<empty_output>", "<bos>", "<eos>", "<pad>", "<unk>",
    "<mask>", "[multimodal]", "<start_of_turn>", "<end_of_turn>", "<start_of_turn>model\n", "<unused0>",
    "<unused99>", "<unused6241>", "<s>", "</s>", "<s", "</s", "<0x0A>", "<0xFF>", "<0x", "<tool>",
    "<tool", "<tool><tool>", "<start_of_image>", "<table>", "</table>", "<h1>", "<|begin_of_text|>",
    "[INST]", "[/INST]", "▁", "▁▁", "▁the", "Ġ", "Ġthe", "Ċ", "ĉ", "<｜end▁of▁sentence｜>",
]

SPACES = [" ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", "\r", "\v", "\f", "\u00a0", "\u3000", "\u2028",
          "\u2029", "\u0085", "\u2003", "\u200b", "\ufeff", "\u1680", "\u202f", "\u205f", "    "]

CONTRACTIONS = ["I'm", "I'M", "don't", "DON'T", "it's", "IT'S", "we'll", "We'Ll", "they've", "you're",
                "YOU'RE", "she'd", "o'clock", "rock'n'roll", "'tis", "'s", "'S", "'ll", " 're", "I’m",
                "don’t", "x'st", "'", "''", "'''", "a'b'c", "ſ's", "'ſ", "'vE it", "'reason", "'delta"]

NUMBERS = ["0", "7", "42", "007", "123", "1234", "12345", "1234567", "3.14159", "1,234,567.89", "-5",
           "+49 30 123456", "1e10", "٣٤٥", "१२३४", "５６７８", "²³⁴", "½¾", "Ⅷ", "①②③", "𝟘𝟙𝟚", "一二三",
           "12:34:56", "2024-03-17", "0x1f", "99%", "$100", "€5", "10km", "3rd", "x2", "2x", "1st2nd"]

BROKEN = [b"\xff", b"\xfe\xff", b"\x80", b"\xc0\x80", b"\xc3", b"\xe6\x97", b"\xf0\x9f\x98", b"\xf0\x9f",
          b"\xed\xa0\x80", b"\xed\xb0\x80", b"\xf5\x80\x80\x80", b"\xe0\x80\xaf", b"\xf4\x90\x80\x80",
          b"\xc3(", b"\xa0\xa1", b"\xe2\x28\xa1", b"\xf8\xa1\xa1\xa1\xa1", b"\xf0\x28\x8c\xbc"]


def assigned_letters():
    """Code points that Unicode 14 knew; surrogates and private use left out."""
    return [chr(code) for code in range(sys.maxunicode + 1)
            if unicodedata.category(chr(code)) not in ("Cn", "Cs", "Co")]


def slice_of(rng, text, longest=60):
    begin = rng.randrange(len(text))
    return text[begin:begin + rng.randint(1, longest)]


def whitespace(rng):
    parts = [rng.choice(SPACES) * rng.choice([1, 1, 1, 2, 3, 7, 17]) for _ in range(rng.randint(1, 4))]
    words = [rng.choice(["", "a", "b.", "Ж", "9", "?", "日"]) for _ in range(len(parts) + 1)]
    return words[0] + "".join(part + word for part, word in zip(parts, words[1:]))


def number(rng):
    if rng.random() < 0.5:
        return rng.choice([" ", "", "-", "$"]).join(rng.choices(NUMBERS, k=rng.randint(1, 4)))
    digits = "".join(rng.choices("0123456789", k=rng.randint(1, 24)))
    return rng.choice(["", " ", "a", "No."]) + digits + rng.choice(["", ".", "%", "th", " 5"])


def special(rng):
    parts = [rng.choice(SPECIALS) if rng.random() < 0.6 else slice_of(rng, rng.choice(SENTENCES), 12)
             for _ in range(rng.randint(1, 4))]
    return rng.choice(["", " ", "\n"]).join(parts)


def long_word(rng):
    letters = rng.choice(["a", "ab", "ñ", "абв", "日本", "xyzw", "ü-", "Aa", "__", "=", "-", "é", "🙂",
                          "abcdefghijklmnopqrstuvwxyz", "ACGT", "01", "कि", "שָ"])
    size = rng.choice([40, 80, 150, 300])
    if rng.random() < 0.5:
        return letters * (size // len(letters))
    return "".join(rng.choice(letters) for _ in range(size))


def marks(rng):
    combining = [chr(code) for code in (0x300, 0x301, 0x308, 0x327, 0x323, 0x20d7, 0x5b8, 0x64b, 0x94d,
                                        0x93f, 0xe31, 0xfe0f, 0x200d, 0x1f3fb, 0x1161, 0x11a8)]
    bases = ["e", "A", "ש", "ع", "क", "ก", "ᄒ", "日", "1", " ", "👩", "'", "-", "z"]
    return "".join(rng.choice(bases) + "".join(rng.choices(combining, k=rng.choice([0, 1, 1, 2, 6])))
                   for _ in range(rng.randint(1, 8)))


def right_to_left(rng):
    controls = ["\u200f", "\u200e", "\u202b", "\u202c", "\u2067", "\u2069", "", ""]
    parts = [slice_of(rng, SENTENCES[rng.choice([13, 14])], 14) for _ in range(3)]
    return "".join(rng.choice(controls) + part + rng.choice([" abc ", " 12 ", ""]) for part in parts)


def control(rng):
    codes = [rng.choice([rng.randrange(32), rng.randrange(0x7f, 0xa1)]) for _ in range(rng.randint(1, 6))]
    return "".join(rng.choice(["", "a", " "]) + chr(code) for code in codes)


def broken(rng):
    parts = []
    for _ in range(rng.randint(1, 4)):
        if rng.random() < 0.3:
            parts.append(bytes(rng.randrange(256) for _ in range(rng.randint(1, 6))))
        else:
            parts.append(rng.choice(BROKEN))
        parts.append(rng.choice([b"", b" ", b"abc", "日".encode(), "é".encode(), b"\n"]))
    return b"".join(parts)


def make_strings(rng):
    letters = assigned_letters()
    kinds = {
        "sentence": (500, lambda: slice_of(rng, rng.choice(SENTENCES))),
        "code": (250, lambda: slice_of(rng, rng.choice(CODE), 80)),
        "whitespace": (250, lambda: whitespace(rng)),
        "number": (150, lambda: number(rng)),
        "contraction": (120, lambda: rng.choice([" ", "", ", "]).join(
            rng.choices(CONTRACTIONS, k=rng.randint(1, 4)))),
        "special": (300, lambda: special(rng)),
        "long": (40, lambda: long_word(rng)),
        "marks": (150, lambda: marks(rng)),
        "right to left": (80, lambda: right_to_left(rng)),
        "control": (100, lambda: control(rng)),
        "any letters": (250, lambda: "".join(rng.choices(letters, k=rng.randint(1, 10)))),
    }
    strings = ["", " ", "\n", "a", *SENTENCES, *CODE, *SPECIALS, *SPACES, *CONTRACTIONS, *NUMBERS]
    strings += [chr(code) for code in range(256)]
    for count, make in kinds.values():
        strings += [make() for _ in range(count)]
    makers = [make for _, make in kinds.values() if make is not kinds["long"][1]]
    strings += ["".join(rng.choice(makers)() for _ in range(rng.randint(2, 3))) for _ in range(250)]
    strings += BROKEN + [broken(rng) for _ in range(150)]
    unique = []
    seen = set()
    for string in strings:
        if string not in seen:
            seen.add(string)
            unique.append(string)
    return unique
