"""The Traditional Chinese part: small talk, arithmetic, lists, reading, tools, contested questions."""

from dialogue import answer, user
from skills_contested import DISPUTES
from skills_pi import (bash, edit, has, listing, partial, path_in, read, small_text, write, wrote)
from skills_talk import operands, sum_steps
from dialogue import result
from words import (ZH_ANIMALS, ZH_COLORS, ZH_NAMES, ZH_PLACES, ZH_THINGS, filename, invented, line, lines, word)

HELLO = ["[你好|您好|嗨|哈囉|早安|午安|晚安|大家好|你們好][|！|，你好|，ds4|，朋友|，嗨][|！]"]
THANKS = ["[謝謝|感謝|多謝|非常感謝|真的謝謝|太好了，謝謝|很好，謝謝][|你|您|你的幫忙|你了][|！|。|，ds4]"]
BYE = ["[再見|掰掰|拜拜|明天見|下次見|待會見|晚點見][|，ds4|，朋友|，我走了][|！|。]",
    "[我|我們][先走了|要走了|該走了|得走了][|，再見|，掰掰|，明天見|，下次見][|！|。]"]
FACTS = [
    (["[你是誰|你叫什麼名字|你是什麼模型|你是什麼|你叫什麼][？|]",
     "[請自我介紹|介紹你自己|自我介紹一下|告訴我你是誰|告訴我你叫什麼][。|？|]"],
     "我是 ds4-nano，一個隨 pi-ds4 附上的小模型。"),
    (["[pi-ds4 是什麼|什麼是 pi-ds4|pi-ds4 做什麼|pi-ds4 有什麼用][？|]",
     "[說明|介紹|解釋][|一下] pi-ds4[。|？|]"],
     "pi-ds4 是用 C 寫的推論伺服器，給 DeepSeek V4 Flash 使用。"),
    (["[需要|要不要|我需要|要][金鑰|帳號|API key|密碼][嗎|][？|]",
     "[要付錢|這是雲端服務|需要付費|要註冊]嗎[。|？|]"],
     "不需要金鑰，也不需要帳號：模型在你自己的電腦上執行。"),
    (["[怎麼|如何|怎樣][執行測試|跑測試|測試 ds4|測試][？|]",
     "[哪個指令|什麼指令][會|可以][跑測試|執行測試][。|？|]"],
     "執行 make test，最後會列出通過和失敗的數目。"),
    (["[預設的|伺服器的|ds4-server 的|][埠號|埠]是[什麼|多少|幾號][？|]",
     "[伺服器|ds4-server|ds4][用|聽]哪個埠[。|？|]"],
     "ds4-server 預設使用 8000 埠。"),
]
SUM = ["[|請問|請問一下，|我想知道]%s [等於|是][多少|幾][？|]",
    "[請|請你|幫我|麻煩][計算|算|算一下|算出] %s[。|]",
    "[計算|算一下|算]：%s",
    "%s[=？| = ？|=]"]
REPEAT = ["[請|請你|麻煩|][重複|照抄|複製|重複說|再說一次|重寫|跟我說][|這句話|這段文字|下面的字|一次]：%s"]
COUNT = ["[這裡|這些|下面|清單裡|][總共有幾個|有幾樣東西|有多少項|共有幾項|有幾個]：%s[？|]",
    "[請|幫我|][數一數|數|數數看|計算數量]：%s"]
REVERSE = ["[請|幫我|][倒過來寫|把順序反過來|反轉這個清單|從後往前列出|倒序列出|反過來寫|從最後寫到最前]：%s"]
READ_ASK = ["[請|][讀|看]這段[文字|話|故事][：|。]%s\n[|問題：|請問：]%s",
    "%s\n\n[|問題：|請問：|請回答：]%s",
    "[文字|故事|內容]：%s\n[|問題：|請問：|請回答：]%s",
    "[根據|用]這段[話|文字|故事]回答。%s\n%s"]

LIST = ["[請|幫我|][列出|顯示|看看|告訴我][所有|這裡的|目前的|][檔案|檔名][|。]",
    "[這個|目前的|現在的][資料夾|目錄|檔案夾][裡|裡面|]有[哪些|什麼]檔案[？|]",
    "[這裡|這邊]有[哪些|什麼]檔案[？|]",
    "[看看|看一下|檢查][這個|目前的][資料夾|目錄]有什麼[檔案|][。|]"]
READ = ["[請|請你|幫我|][讀|讀取|打開|看|看一下|顯示] {f}[| 的內容]",
    "{f} [裡面寫什麼|的內容是什麼|寫了什麼|裡有什麼|裡面有什麼][？|]",
    "[請|幫我|][告訴我|顯示] {f} [的內容|裡面寫什麼|寫了什麼]"]
LINE = ["{f} [的|]第 {n} 行[是什麼|寫什麼|的內容是什麼|寫了什麼][？|]",
    "[請|請你|幫我|][讀|讀取|顯示|看|看一下|告訴我] {f} [的|]第 {n} 行[|的內容]"]
COUNT_LINES = ["[請問 |]{f} [總共|一共|]有[幾|多少]行[？|]",
    "[請|幫我|請你|][數一數|計算|數|算一下] {f} [的行數|有幾行|有多少行]",
    "{f} 的行數是多少[？|]",
    "{f} [總共|一共][幾|多少]行[？|]"]
CREATE = ["[請|幫我|][建立|新增|做一個|產生][|檔案] {f}，[內容是|內容為|寫入|裡面寫]：{t}",
    "[請|幫我|]把「{t}」[寫到|存到|寫進|存成|寫入] {f}"]
REPLACE = ["[請|幫我|請你|][把|將] {f} [裡的|中的|裡面的] {a} [換成|改成|改為|取代為|替換成] {b}",
    "[在|請在] {f} [裡|中|裡面][把|將] {a} [換成|改成|改為|取代為|替換成] {b}",
    "{f} [裡的|中的|裡面的] {a} [要|應該|必須][改成|換成|改為] {b}"]
STAKEHOLDER = ["[遇到|對於|關於|碰到][有爭議的|爭議的][問題|事情]，[請|][列出|說明|提出][各方|每一方|所有人][的說法|的理由|的看法]。",
    "[請|請你|][用|以]各方[觀點|立場|說法]回答。",
    "有爭議時，[請|][說明|列出]每一方的[理由|說法|看法]。"]
OWNER = ["[請問 |]{thing} [屬於|歸][誰|哪個國家|哪一國|哪一方][？|所有？]",
    "{thing} 是 {one} 的還是 {two} 的[？|呢？]",
    "[誰|哪個國家|哪一國]擁有 {thing}[？|呢？]",
    "{thing} 是[誰的|哪個國家的|哪一國的][？|呢？]"]


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
