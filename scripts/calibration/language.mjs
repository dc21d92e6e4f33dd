// Sentences in English and Chinese that mean the same, from the daily work of programmers, and what is asked about them.

export const PAIRS = [
  ["The build failed because a header was renamed last week.", "因為上週有一個標頭檔改了名字，所以建置失敗了。"],
  ["Please keep the change small so that it can be reviewed today.", "請把改動保持得小一點，好讓今天就能審查完。"],
  ["The test passes on my machine but times out on the shared runner.", "這個測試在我的機器上會通過，但在共用的執行環境上逾時。"],
  ["Nobody noticed the leak until the service had run for three days.", "直到服務連續跑了三天，才有人注意到記憶體洩漏。"],
  ["We measured first, and the slow part was not where we had guessed.", "我們先做了量測，結果慢的地方並不是我們原先猜的那裡。"],
  ["A queue without a limit only hides the problem.", "沒有上限的佇列只是把問題藏起來。"],
  ["Write down what you expect before you run the experiment.", "在執行實驗之前，先把你的預期寫下來。"],
  ["The second request waits until the first has finished.", "第二個請求會等到第一個完成為止。"],
  ["If the disk is full, the program says so and leaves the old file alone.", "如果磁碟滿了，程式會說明原因，並且不動舊的檔案。"],
  ["The name of this function promises more than it does.", "這個函式的名稱承諾的比它實際做的還多。"],
  ["Each thread works on its own rows, so no lock is needed.", "每個執行緒只處理自己的那幾列，因此不需要鎖。"],
  ["An error message should tell the reader what to do next.", "錯誤訊息應該告訴讀者下一步該做什麼。"],
  ["We removed the option because nobody could explain it.", "我們移除了那個選項，因為沒有人能解釋它的作用。"],
  ["The parser reads one byte at a time and never looks back.", "這個剖析器一次只讀一個位元組，而且從不回頭。"],
  ["Half of the time was spent converting numbers to text.", "有一半的時間花在把數字轉換成文字上。"],
  ["The cache is keyed by content, so renaming a file costs nothing.", "快取以內容作為索引鍵，所以重新命名檔案不會有任何代價。"],
  ["Every figure in this report comes from a command that you can run.", "這份報告裡的每個數字，都來自一個你可以自己執行的指令。"],
  ["The server answers at once, even while the model is loading.", "即使模型還在載入，伺服器也會立刻回應。"],
  ["A tolerance that is widened to pass hides a mistake.", "為了通過而放寬的誤差範圍，會掩蓋一個錯誤。"],
  ["The old format can still be read, but it is no longer written.", "舊格式仍然可以讀取，但不再寫出。"],
  ["He explained the design with a drawing on a napkin.", "他在餐巾紙上畫了一張圖來說明這個設計。"],
  ["The river is high this spring, so the footbridge is closed.", "今年春天河水上漲，所以人行橋封閉了。"],
  ["She wrote the index by hand and found two chapters missing.", "她親手編寫索引，結果發現少了兩章。"],
  ["The train was late, but the connection waited for us.", "火車誤點了，不過轉乘的班次等了我們。"],
  ["They planted beans between the rows of maize.", "他們在一行行的玉米之間種了豆子。"],
  ["The library opens at nine and closes when the last reader leaves.", "圖書館九點開門，最後一位讀者離開時才關門。"],
  ["Salt the water before the noodles go in.", "先在水裡加鹽，再放麵條。"],
  ["The map shows the path but not how steep it is.", "地圖上畫出了小路，卻沒有標示它有多陡。"],
  ["A good question is worth more than a quick answer.", "一個好問題勝過一個倉促的答案。"],
  ["They compared three prices and took the second.", "他們比較了三個價格，選了第二個。"],
];

const WORDS = {
  en: {
    translate: ["Translate into Traditional Chinese:", "Say this in Chinese, please:", "Chinese version of the following text:"],
    points: ["List the statements of this text as bullet points.", "One bullet point per sentence, please."],
    shorter: ["Which of these sentences is the shortest? Quote it.", "Quote the shortest sentence."],
    thinking: "I go through the sentences one by one and keep their order.",
  },
  zh: {
    translate: ["請把下面這段話翻譯成英文：", "這段文字的英文怎麼說？", "翻成英文："],
    points: ["請把這段文字逐句列成條目。", "每一句列一點。"],
    shorter: ["這幾句當中哪一句最短？請引用。", "請引用最短的一句。"],
    thinking: "我逐句處理，並保持原來的順序。",
  },
};

export function languageCase(random) {
  const zh = random.chance(50);
  const [from, to] = zh ? [1, 0] : [0, 1];
  const chosen = random.some(PAIRS, 3 + random.below(5));
  const words = WORDS[zh ? "zh" : "en"];
  const join = (side) => chosen.map((pair) => pair[side]).join(side === 1 ? "" : " ");
  const task = random.pick(["translate", "translate", "points", "shorter"]);
  const answers = {
    translate: () => join(to),
    points: () => chosen.map((pair) => `- ${pair[from]}`).join("\n"),
    shorter: () => chosen.map((pair) => pair[from]).reduce((a, b) => (b.length < a.length ? b : a)),
  };
  return {
    messages: [{ role: "user", content: `${random.pick(words[task])}\n\n${join(from)}` }],
    reference: { content: answers[task](), reasoning_content: words.thinking },
  };
}
