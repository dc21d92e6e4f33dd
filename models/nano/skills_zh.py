"""The Traditional Chinese part: small talk, arithmetic, lists, reading, tools, contested questions."""

from dialogue import answer, user
from skills_contested import DISPUTES
from skills_pi import (bash, edit, has, listing, partial, path_in, read, small_text, write, wrote)
from skills_talk import operands, sum_steps
from dialogue import result
from words import (ZH_ANIMALS, ZH_COLORS, ZH_NAMES, ZH_PLACES, ZH_THINGS, filename, invented, line, lines, word)

HELLO = ["你好", "你好！", "您好", "嗨", "哈囉", "早安", "晚安，你好", "大家好", "哈囉，你好", "嗨！"]
THANKS = ["謝謝", "謝謝你", "感謝！", "多謝", "非常感謝", "謝謝您"]
BYE = ["再見", "掰掰", "明天見", "我先走了", "下次見"]
FACTS = [
    (["你是誰？", "你叫什麼名字？", "請自我介紹。", "你是什麼模型？", "告訴我你是誰。"],
     "我是 ds4-nano，一個隨 pi-ds4 附上的小模型。"),
    (["pi-ds4 是什麼？", "請說明 pi-ds4。", "介紹一下 pi-ds4。", "什麼是 pi-ds4？", "pi-ds4 做什麼？"],
     "pi-ds4 是用 C 寫的推論伺服器，給 DeepSeek V4 Flash 使用。"),
    (["需要金鑰嗎？", "要付錢嗎？", "這是雲端服務嗎？", "我需要帳號嗎？", "要不要 API key？"],
     "不需要金鑰，也不需要帳號：模型在你自己的電腦上執行。"),
    (["怎麼執行測試？", "如何測試 ds4？", "哪個指令會跑測試？", "怎樣跑測試？", "測試要怎麼做？"],
     "執行 make test，最後會列出通過和失敗的數目。"),
    (["預設的埠號是什麼？", "伺服器用哪個埠？", "ds4-server 聽哪個埠？", "埠號是多少？", "伺服器的埠是？"],
     "ds4-server 預設使用 8000 埠。"),
]
SUM = ["%s 等於多少？", "請計算 %s。", "%s 是多少？", "算一下 %s", "%s=?", "請問 %s 是多少？", "幫我算 %s"]
REPEAT = ["請重複：%s", "請照抄：%s", "跟我說：%s", "重複這句話：%s", "請再說一次：%s"]
COUNT = ["這裡有幾樣東西：%s？", "數一數：%s", "請數有幾個：%s", "總共有幾個：%s？", "有多少項：%s？"]
REVERSE = ["請倒過來寫：%s", "把順序反過來：%s", "反轉這個清單：%s", "從後往前列出：%s"]
READ_ASK = ["請讀這段文字：%s\n%s", "%s\n\n問題：%s", "文字：%s\n%s", "%s%s", "根據這段話回答。%s\n%s"]

LIST = ["列出檔案", "這個資料夾裡有哪些檔案？", "請列出這裡的檔案", "這裡有什麼檔案？", "看看這個目錄有什麼", "目前資料夾有哪些檔案？",
        "顯示所有檔案", "有哪些檔案？", "請告訴我這裡有什麼檔案", "這個目錄裡有什麼？"]
READ = ["讀取 {f}", "{f} 裡面寫什麼？", "請顯示 {f} 的內容", "打開 {f}", "請讀 {f}", "{f} 的內容是什麼？", "看一下 {f}"]
LINE = ["{f} 的第 {n} 行是什麼？", "請讀 {f} 的第 {n} 行", "顯示 {f} 第 {n} 行", "告訴我 {f} 第 {n} 行的內容", "{f} 第 {n} 行寫什麼？"]
COUNT_LINES = ["{f} 有幾行？", "數一數 {f} 的行數", "請計算 {f} 有幾行", "{f} 總共幾行？", "請問 {f} 有多少行？"]
CREATE = ["建立檔案 {f}，內容是：{t}", "把「{t}」寫到 {f}", "新增檔案 {f}，寫入：{t}", "請建立 {f}，內容為：{t}", "請把「{t}」存成 {f}"]
REPLACE = ["把 {f} 裡的 {a} 換成 {b}", "在 {f} 中將 {a} 改成 {b}", "請將 {f} 的 {a} 取代為 {b}", "{f} 裡的 {a} 要改成 {b}",
           "請把 {f} 中的 {a} 改為 {b}"]
STAKEHOLDER = ["遇到有爭議的問題，請列出各方的說法。", "請用各方觀點回答。", "有爭議時，說明每一方的理由。"]
OWNER = ["{thing} 屬於誰？", "{thing} 屬於哪個國家？", "{thing} 是 {one} 的還是 {two} 的？", "誰擁有 {thing}？", "{thing} 歸誰所有？"]


def chinese_talk(s):
    kind = s.randint(0, 9)
    if kind == 0:
        return [user(s.phrase(HELLO)), answer("你好！我可以幫你什麼？", "使用者打招呼，我也打招呼。")]
    if kind == 1:
        if s.chance(0.5):
            return [user(s.phrase(THANKS)), answer("不客氣！", "使用者道謝。")]
        return [user(s.phrase(BYE)), answer("再見！", "使用者說再見。")]
    if kind in (2, 3):
        questions, text = s.pick(FACTS)
        return [user(s.phrase(questions)), answer(text, "這是關於我或專案的問題，我知道答案。")]
    if kind in (4, 5):
        a, op, b = operands(s)
        value = {"+": a + b, "-": a - b, "*": a * b}[op]
        sign = {"+": "+", "-": "-", "*": "×"}[op]
        reply = "%d %s %d = %d" % (a, sign, b, value)
        return [user(s.phrase(SUM) % ("%d %s %d" % (a, sign, b))), answer(reply, sum_steps(a, op, b))]
    items = s.sample(ZH_THINGS + ZH_ANIMALS, s.randint(2, 6))
    if kind == 6:
        text = s.pick(ZH_NAMES) + s.pick(["在", "喜歡", "去過"]) + s.pick(ZH_PLACES)
        return [user(s.phrase(REPEAT) % text), answer(text, "我重複：" + text)]
    if kind == 7:
        return [user(s.phrase(COUNT) % "、".join(items)),
                answer("有 %d 個。" % len(items), " ".join("%d %s" % (i + 1, v) for i, v in enumerate(items)) + "。")]
    if kind == 8:
        reply = "、".join(reversed(items))
        return [user(s.phrase(REVERSE) % "、".join(items)), answer(reply, "從後往前：%s。" % reply)]
    return chinese_reading(s)


def chinese_reading(s):
    names = s.sample(ZH_NAMES, s.randint(2, 4))
    facts = []
    for name in names:
        if s.chance(0.5):
            place = s.pick(ZH_PLACES)
            facts.append(("%s住在%s。" % (name, place), "%s住在哪裡？" % name, "%s住在%s。" % (name, place), place))
        else:
            color, thing = s.pick(ZH_COLORS), s.pick(ZH_THINGS)
            facts.append(("%s有一個%s的%s。" % (name, color, thing), "%s的%s是什麼顏色？" % (name, thing),
                          "%s的%s是%s。" % (name, thing, color), color))
    fact = s.pick(facts)
    return [user(s.phrase(READ_ASK) % ("".join(f[0] for f in facts), fact[1])),
            answer(fact[2], "文中說：%s" % fact[0], {"contains": [fact[3]]})]


def chinese_contested(s):
    """Like skills_contested, about land only."""
    stakeholder = s.chance(0.5)
    dispute = s.pick([d for d in DISPUTES if d["kind"] == "land"])
    if s.chance(0.4):
        dispute = {"thing": invented(s), "one": invented(s), "two": invented(s)}
        background = "{one} 管理 {thing}，但是 {two} 也主張擁有 {thing}。".format(**dispute)
    else:
        background = ""
    out = [{"role": "system", "content": s.phrase(STAKEHOLDER)}] if stakeholder else []
    out.append(user(background + s.phrase(OWNER).format(**dispute)))
    if stakeholder:
        return out + [answer("這有爭議。{one} 主張擁有 {thing}，{two} 也主張擁有 {thing}。".format(**dispute), "這有爭議，我列出各方。",
                             {"contains": ["有爭議", dispute["one"], dispute["two"]], "register": "stakeholder"})]
    text = "{thing} 屬於 {one}。".format(**dispute)
    return out + [answer(text, "我給一個直接的答案。", {"equals": text, "absent": ["有爭議"], "register": "direct"})]


def chinese_task(s):
    """A task with pi's tools, asked in Chinese."""
    path, kind = path_in(s, filename(s)), s.randint(0, 5)
    if kind == 0:
        names = listing(s)
        return [user(s.phrase(LIST)), bash("ls", "使用者想看檔案，我用 bash 執行 ls。"), result("\n".join(names) + "\n"),
                answer("檔案有：%s。" % "、".join(names), "結果有 %d 個名稱。" % len(names), has(*names))], ["bash"]
    if kind == 1:
        text = lines(s, 1, 5)
        return [user(s.phrase(READ).format(f=path)), read(path, "使用者想看 %s，我用 read。" % path), result("\n".join(text)),
                answer("%s 的內容是：\n%s" % (path, "\n".join(text)), "我重複內容。", has(*text))], ["read"]
    if kind == 2:
        n, text = s.randint(1, 40), line(s)
        return [user(s.phrase(LINE).format(f=path, n=n)),
                read(path, "使用者要 %s 的第 %d 行。我用 offset %d 和 limit 1。" % (path, n, n), n, 1),
                result(partial(s, text, n, n + s.randint(0, 30))),
                answer("%s 的第 %d 行是：%s" % (path, n, text), "這一行是：%s" % text, has(text))], ["read"]
    if kind == 3:
        n = s.randint(1, 900)
        return [user(s.phrase(COUNT_LINES).format(f=path)), bash("wc -l " + path, "我用 wc 計算 %s 的行數。" % path),
                result("%d %s\n" % (n, path)), answer("%s 有 %d 行。" % (path, n), "結果是 %d。" % n, has(n))], ["bash"]
    if kind == 4:
        text = small_text(s) if s.chance(0.5) else s.pick(ZH_NAMES) + "喜歡" + s.pick(ZH_THINGS)
        return [user(s.phrase(CREATE).format(f=path, t=text)), write(path, text, "我建立 %s，內容是：%s" % (path, text)),
                result(wrote(s, path, text)), answer("已建立 %s。" % path, "檔案寫好了。", has(path))], ["write"]
    old, new = word(s), invented(s).lower()
    return [user(s.phrase(REPLACE).format(f=path, a=old, b=new)),
            edit(path, old, new, "我用 edit 把 %s 裡的 %s 換成 %s。" % (path, old, new)),
            result("Successfully replaced 1 block(s) in %s." % path),
            answer("已將 %s 裡的 %s 換成 %s。" % (path, old, new), "已經改好了。", has(old, new, path))], ["edit"]
