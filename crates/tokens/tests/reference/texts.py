"""The texts of the fixture: sentences and code written for it, and what a seeded generator makes of them.

Nothing here is copied from elsewhere, and nothing depends on anything but this file: the same list on every machine.
"""

import random

# Five sentences a language, about the same things: so languages can be compared.
SENTENCES = {
    "en": [
        "Every call to a model is counted before it is sent, and again when the answer has come.",
        "The ledger debits credits exactly once, even if the same event arrives twice.",
        "How many tokens does this paragraph have, and what will it cost?",
        "We can't say yet whether they'd agree; she's sure it'll work, but I'm not.",
        "Yesterday's invoice was wrong: it listed 1,204 requests instead of 1,240.",
    ],
    "de": [
        "Jeder Aufruf eines Modells wird gezählt, bevor er abgeschickt wird, und noch einmal, wenn die Antwort da ist.",
        "Das Hauptbuch belastet Guthaben genau einmal, auch wenn dasselbe Ereignis doppelt eintrifft.",
        "Wie viele Token hat dieser Absatz, und was wird er kosten?",
        "Größenordnungsmäßig übertreffen die Verarbeitungsgeschwindigkeiten unsere Erwartungen.",
        "Die gestrige Rechnung war falsch: Sie führte 1.204 statt 1.240 Anfragen auf.",
    ],
    "fr": [
        "Chaque appel à un modèle est compté avant d'être envoyé, puis une seconde fois quand la réponse arrive.",
        "Le grand livre débite les crédits une seule fois, même si l'événement est reçu deux fois.",
        "Combien de jetons contient ce paragraphe, et combien coûtera-t-il ?",
        "L'été dernier, nous avons déjà dû corriger des écarts là où l'on n'en attendait pas.",
        "La facture d'hier était fausse : elle indiquait 1 204 requêtes au lieu de 1 240.",
    ],
    "es": [
        "Cada llamada a un modelo se cuenta antes de enviarla y otra vez cuando llega la respuesta.",
        "El libro mayor carga los créditos exactamente una vez, aunque el mismo evento llegue dos veces.",
        "¿Cuántos tokens tiene este párrafo y cuánto costará?",
        "¡Qué extraño! Mañana comprobaremos si el año pasado ocurrió lo mismo.",
        "La factura de ayer estaba mal: indicaba 1.204 peticiones en lugar de 1.240.",
    ],
    "pt": [
        "Cada chamada a um modelo é contada antes de ser enviada e outra vez quando a resposta chega.",
        "O livro-razão debita os créditos exatamente uma vez, mesmo que o evento chegue em dobro.",
        "Quantos tokens tem este parágrafo e quanto vai custar?",
        "Não há razão para que as previsões não sejam revistas já amanhã de manhã.",
    ],
    "it": [
        "Ogni chiamata a un modello viene contata prima dell'invio e di nuovo quando arriva la risposta.",
        "Il libro mastro addebita i crediti esattamente una volta, anche se l'evento arriva due volte.",
        "Quanti token ha questo paragrafo e quanto costerà?",
        "Perché la verità è così semplice, nessuno l'ha ancora scritta.",
    ],
    "nl": [
        "Elke aanroep van een model wordt geteld voordat hij wordt verstuurd, en nog eens als het antwoord er is.",
        "Het grootboek boekt tegoeden precies één keer af, ook als dezelfde gebeurtenis twee keer binnenkomt.",
        "Hoeveel tokens heeft deze alinea, en wat gaat dat kosten?",
    ],
    "sv": [
        "Varje anrop till en modell räknas innan det skickas, och en gång till när svaret har kommit.",
        "Huvudboken drar krediter exakt en gång, även om samma händelse kommer två gånger.",
        "Hur många tecken får plats på en rad, och vad kostar det?",
    ],
    "pl": [
        "Każde wywołanie modelu jest liczone przed wysłaniem i jeszcze raz, gdy nadejdzie odpowiedź.",
        "Księga obciąża środki dokładnie raz, nawet jeśli to samo zdarzenie przyjdzie dwa razy.",
        "Ile tokenów ma ten akapit i ile będzie kosztował?",
        "Zażółcenie wykresu oznacza, że próg został przekroczony już wczoraj.",
    ],
    "cs": [
        "Každé volání modelu se počítá před odesláním a ještě jednou, když přijde odpověď.",
        "Účetní kniha odečte kredity právě jednou, i když stejná událost dorazí dvakrát.",
        "Kolik tokenů má tento odstavec a kolik bude stát?",
    ],
    "tr": [
        "Bir modele yapılan her çağrı gönderilmeden önce sayılır, yanıt gelince bir kez daha sayılır.",
        "Aynı olay iki kez gelse bile defter kredileri yalnızca bir kez düşer.",
        "Bu paragrafta kaç belirteç var ve kaça mal olacak?",
        "İstanbul'daki sunucular ışık hızında çalışmıyor ama yeterince çabuk.",
    ],
    "vi": [
        "Mỗi lần gọi mô hình đều được đếm trước khi gửi, và đếm lại khi có câu trả lời.",
        "Sổ cái chỉ trừ tín dụng đúng một lần, kể cả khi cùng một sự kiện đến hai lần.",
        "Đoạn văn này có bao nhiêu token và sẽ tốn bao nhiêu tiền?",
    ],
    "id": [
        "Setiap panggilan ke model dihitung sebelum dikirim, dan sekali lagi ketika jawabannya tiba.",
        "Buku besar memotong kredit tepat satu kali, walaupun kejadian yang sama datang dua kali.",
        "Berapa banyak token dalam paragraf ini, dan berapa biayanya?",
    ],
    "fi": [
        "Jokainen mallin kutsu lasketaan ennen lähettämistä ja uudelleen, kun vastaus on saapunut.",
        "Pääkirja veloittaa hyvitykset täsmälleen kerran, vaikka sama tapahtuma saapuisi kahdesti.",
        "Kuinka monta merkkiä tässä kappaleessa on ja mitä se maksaa?",
    ],
    "hu": [
        "Minden modellhívást megszámolunk, mielőtt elküldjük, és még egyszer, amikor megjött a válasz.",
        "A főkönyv pontosan egyszer terheli meg a keretet, akkor is, ha ugyanaz az esemény kétszer érkezik.",
    ],
    "ru": [
        "Каждый вызов модели считается до отправки и ещё раз, когда пришёл ответ.",
        "Книга списывает кредиты ровно один раз, даже если одно и то же событие приходит дважды.",
        "Сколько токенов в этом абзаце и сколько он будет стоить?",
        "Вчерашний счёт был неверен: в нём значилось 1 204 запроса вместо 1 240.",
        "Объём вычислений растёт быстрее, чем мы успеваем его измерять.",
    ],
    "uk": [
        "Кожен виклик моделі рахують перед відправленням і ще раз, коли надійшла відповідь.",
        "Книга списує кредити рівно один раз, навіть якщо та сама подія надходить двічі.",
        "Скільки токенів у цьому абзаці та скільки він коштуватиме?",
    ],
    "el": [
        "Κάθε κλήση σε μοντέλο μετριέται πριν σταλεί και ξανά όταν έρθει η απάντηση.",
        "Το καθολικό χρεώνει τις μονάδες ακριβώς μία φορά, ακόμη κι αν το ίδιο γεγονός φτάσει δύο φορές.",
        "Πόσα σύμβολα έχει αυτή η παράγραφος και πόσο θα κοστίσει;",
    ],
    "ar": [
        "يُحسب كل نداء للنموذج قبل إرساله، ثم يُحسب مرة أخرى عند وصول الجواب.",
        "يخصم الدفتر الأرصدة مرة واحدة فقط، حتى لو وصل الحدث نفسه مرتين.",
        "كم رمزًا في هذه الفقرة، وكم ستكون تكلفتها؟",
        "كانت فاتورة الأمس خاطئة: ذكرت ١٢٠٤ طلبات بدلًا من ١٢٤٠.",
    ],
    "fa": [
        "هر فراخوانی مدل پیش از فرستادن شمرده می‌شود و بار دیگر وقتی پاسخ می‌رسد.",
        "دفتر کل اعتبار را تنها یک بار کم می‌کند، حتی اگر یک رویداد دو بار برسد.",
        "این بند چند نشانه دارد و هزینه‌ی آن چقدر است؟",
    ],
    "he": [
        "כל קריאה למודל נספרת לפני שהיא נשלחת, ופעם נוספת כשהתשובה מגיעה.",
        "ספר החשבונות מחייב זיכויים פעם אחת בלבד, גם אם אותו אירוע מגיע פעמיים.",
        "כמה אסימונים יש בפסקה הזאת, וכמה היא תעלה?",
    ],
    "hi": [
        "मॉडल को भेजे जाने से पहले हर अनुरोध गिना जाता है, और उत्तर आने पर एक बार फिर।",
        "एक ही घटना दो बार आए तब भी खाता केवल एक बार क्रेडिट घटाता है।",
        "इस अनुच्छेद में कितने टोकन हैं और इसका खर्च कितना होगा?",
        "कल का बिल गलत था: उसमें १,२४० की जगह १,२०४ अनुरोध लिखे थे।",
    ],
    "bn": [
        "মডেলে পাঠানোর আগে প্রতিটি অনুরোধ গোনা হয়, আর উত্তর এলে আরও একবার।",
        "একই ঘটনা দুবার এলেও খাতা ঠিক একবারই ক্রেডিট কাটে।",
    ],
    "ta": [
        "மாதிரிக்கு அனுப்பும் முன் ஒவ்வொரு கோரிக்கையும் எண்ணப்படுகிறது.",
        "ஒரே நிகழ்வு இருமுறை வந்தாலும் கணக்கு ஒருமுறை மட்டுமே கழிக்கும்.",
    ],
    "th": [
        "ทุกคำขอถูกนับก่อนส่งไปยังโมเดล และนับอีกครั้งเมื่อได้รับคำตอบ",
        "บัญชีหักเครดิตเพียงครั้งเดียว แม้เหตุการณ์เดียวกันจะมาถึงสองครั้ง",
        "ย่อหน้านี้มีกี่โทเคน และจะมีค่าใช้จ่ายเท่าไร",
    ],
    "zh": [
        "每次调用模型之前都会先计数，收到回答之后再计一次。",
        "即使同一事件到达两次，账本也只扣除一次额度。",
        "这一段有多少个词元，要花多少钱？",
        "昨天的账单有误：上面写的是1204次请求，而不是1240次。",
        "系统会在预算用完之前发出提醒，以便团队及时调整模型的选择。",
    ],
    "zh-TW": [
        "每次呼叫模型之前都會先計數，收到回覆之後再計一次。",
        "即使同一事件到達兩次，帳本也只扣除一次點數。",
        "這一段有多少個詞元，要花多少錢？",
    ],
    "ja": [
        "モデルへの呼び出しは送信の前に数えられ、応答が届いた後にもう一度数えられます。",
        "同じイベントが二度届いても、台帳がクレジットを引き落とすのは一度だけです。",
        "この段落には何トークンあり、いくらかかるでしょうか？",
        "昨日の請求書は間違っていました。リクエスト数が１２４０ではなく１２０４になっていたのです。",
    ],
    "ko": [
        "모델 호출은 보내기 전에 한 번 세고, 응답이 도착하면 다시 한 번 셉니다.",
        "같은 이벤트가 두 번 도착해도 원장은 크레딧을 정확히 한 번만 차감합니다.",
        "이 문단에는 토큰이 몇 개 있고 비용은 얼마나 들까요?",
    ],
    "ka": ["მოდელის ყოველი გამოძახება ითვლება გაგზავნამდე და კიდევ ერთხელ, როცა პასუხი მოვა."],
    "am": ["ወደ ሞዴሉ የሚላክ እያንዳንዱ ጥሪ ከመላኩ በፊት ይቆጠራል።"],
}

CODE = {
    "rust": """fn spend(ledger: &mut Ledger, org: OrgId, amount: Credits) -> Result<Balance, SpendError> {
    let before = ledger.balance(&org)?;
    if before < amount {
        return Err(SpendError::Insufficient { org, missing: amount - before });
    }
    ledger.push(Posting::debit(org, amount)); // numbered, gapless
    Ok(before - amount)
}
""",
    "python": """class Counter:
    \"\"\"Counts what goes in, and forgets nothing.\"\"\"

    def __init__(self, limit: int = 10_000) -> None:
        self.limit, self.seen = limit, {}

    def add(self, key: str, n: int = 1) -> bool:
        self.seen[key] = self.seen.get(key, 0) + n
        return sum(self.seen.values()) <= self.limit

if __name__ == "__main__":
    counter = Counter(3)
    print([counter.add(word) for word in "to be or not to be".split()])
""",
    "typescript": """export async function estimate(model: string, messages: Message[]): Promise<Estimate> {
  const response = await fetch(`${BASE}/v1/estimate`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${key}` },
    body: JSON.stringify({ model, messages }),
  });
  if (!response.ok) throw new Error(`estimate failed: ${response.status}`);
  return (await response.json()) as Estimate;
}
""",
    "go": """package main

import "fmt"

func main() {
\ttotals := map[string]int{"in": 0, "out": 0}
\tfor i := 0; i < 10; i++ {
\t\ttotals["in"] += i * 2
\t\tif i%3 == 0 {
\t\t\ttotals["out"]++
\t\t}
\t}
\tfmt.Printf("%v\\n", totals)
}
""",
    "java": """public final class RateCard {
    private final Map<String, BigDecimal> prices = new ConcurrentHashMap<>();

    public BigDecimal priceOf(String model, long inputTokens) {
        return prices.getOrDefault(model, BigDecimal.ZERO)
            .multiply(BigDecimal.valueOf(inputTokens))
            .divide(BigDecimal.valueOf(1_000_000L), RoundingMode.HALF_EVEN);
    }
}
""",
    "c": """#include <stdio.h>
#define MAX(a, b) ((a) > (b) ? (a) : (b))

int main(void) {
    unsigned long long widest = 0;
    for (int i = 0; i < 64; ++i)
        widest = MAX(widest, 1ULL << i);
    printf("0x%016llx\\n", widest);
    return 0;
}
""",
    "sql": """SELECT org_id, date_trunc('day', occurred_at) AS day, SUM(input_tokens) AS tokens_in, COUNT(*) AS calls
FROM usage_log
WHERE occurred_at >= now() - INTERVAL '30 days' AND module IN ('rag-retrieval', 'chat')
GROUP BY 1, 2
HAVING SUM(input_tokens) > 100000
ORDER BY tokens_in DESC
LIMIT 50;
""",
    "json": """{"model":"gpt-5","messages":[{"role":"system","content":"Answer briefly."},{"role":"user","content":"What's a token?"}],"temperature":0.2,"max_tokens":256,"tools":[{"type":"function","function":{"name":"get_price","parameters":{"type":"object","properties":{"sku":{"type":"string"}},"required":["sku"]}}}]}""",
    "json-pretty": """{
    "id": "evt_01J9ZK3M8Q",
    "created": 1795348800,
    "usage": {
        "prompt_tokens": 1204,
        "completion_tokens": 87,
        "prompt_tokens_details": { "cached_tokens": 1024 }
    },
    "ok": true,
    "error": null
}
""",
    "yaml": """services:
  edge:
    image: fluxori/edge:0.1.0
    environment:
      - KAFKA_BROKERS=kafka:9092
      - DATABASE_URL=postgres://edge@postgres/ledger
    ports: ["8080:8080"]
    healthcheck: { test: ["CMD", "/edge", "--health"], interval: 5s }
""",
    "html": """<!DOCTYPE html>
<html lang="en">
  <head><meta charset="utf-8"><title>Usage &amp; limits</title></head>
  <body><table class="usage"><tr><td data-org="org-000">12&nbsp;345</td></tr></table>
    <script>document.querySelectorAll('td').forEach(e => e.classList.add("right"));</script>
  </body>
</html>
""",
    "css": """.usage td.right { text-align: right; font-variant-numeric: tabular-nums; }
@media (max-width: 40rem) { .usage { display: block; overflow-x: auto; padding: 0 .5em } }
""",
    "shell": """#!/usr/bin/env bash
set -euo pipefail
for file in "$@"; do
    lines=$(wc -l < "$file" | tr -d ' ')
    [[ $lines -gt 350 ]] && echo "${file##*/}: $lines lines" >&2
done
curl -sS -H "Authorization: Bearer $KEY" "$EDGE/v1/balance?org_id=org-000" | jq -r '.balance'
""",
    "markdown": """# Limits

| plan | credits a month | burst |
|------|----------------:|------:|
| free |           1,000 |    10 |
| team |         250,000 | 2,000 |

- **Hard limit**: the call is refused with `402`.
- *Soft limit*: an event is sent; see [budgets](budgets.md#soft).

> Prices are per 1M tokens.
""",
    "diff": """@@ -12,7 +12,8 @@ impl Fold {
-        self.total += amount;
+        self.total = self.total.checked_add(amount).ok_or(FoldError::Overflow)?;
+        self.count += 1;
         Ok(())
     }
""",
    "log": """2026-02-11T08:15:30.123456Z  INFO ledger::fold: applied partition=7 offset=184467 postings=3 took_us=412
2026-02-11T08:15:30.124001Z  WARN ledger::fold: quarantined event_id=0195c1a2-7b3e-7c44-9d1f-3a5b6c7d8e9f reason="unknown model"
""",
    "csv": """org_id,module,model,input_tokens,output_tokens,cost
org-000,chat,gpt-5,1204,87,0.0123
org-001,"rag, retrieval",claude-sonnet-4-5,88120,1204,0.28242
""",
    "latex": r"""\begin{equation}
  \hat{y}_{t+1} = \alpha y_t + (1 - \alpha)\,\hat{y}_t, \qquad 0 < \alpha \le 1
\end{equation}
""",
    "regex": r"""(?i)^\s*(?:[a-z0-9._%+-]+)@(?:[a-z0-9-]+\.)+[a-z]{2,63}\s*$|\d{3}-\d{4}""",
    "base64": "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
    "hex": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 DEADBEEF 0xFFFF_0000",
    "url": "https://example.org/v1/search?q=token%20count&lang=en-GB&page=2#results:~:text=exact",
    "math": "∑_{i=1}^{n} xᵢ² ≥ (∑ xᵢ)² / n ⇒ σ² ≥ 0; ∀ε>0 ∃δ: |x−a|<δ → |f(x)−L|<ε; √2 ≈ 1.41421; ½ + ¼ = ¾",
    "box": "┌──────────┬──────┐\n│ org      │ left │\n├──────────┼──────┤\n│ org-000  │ ▇▇▃▁ │\n└──────────┴──────┘\n",
}

EMOJI = [
    "👍", "👍🏽 ok", "👩‍💻 works on 🧪🧬", "👨‍👩‍👧‍👦", "🏳️‍🌈🏴‍☠️", "🇩🇪🇯🇵🇧🇷", "1️⃣2️⃣3️⃣#️⃣", "❤️‍🔥 vs ❤ vs ♥",
    "🙂🙃🙂🙃🙂🙃🙂🙃", "Shipping 🚀🚀🚀 tomorrow!!! 🎉", "☕️☂☎⚡✈✔✖", "🤷🏻‍♀️🤷🏿‍♂️", "🫠🫡🫥", "🧑🏾‍🤝‍🧑🏼", "a🙂b🙂c", "🀄🃏🎴",
    "👁️‍🗨️", "⏳…⌛ done ✅", "(╯°□°)╯︵ ┻━┻", "¯\\_(ツ)_/¯", "ʕ•ᴥ•ʔ", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝓶𝓪𝓽𝓱 𝟙𝟚𝟛", "①②③ ㊗㊙ ㍿ ﷺ", "🎵🎶 la la ♪♫",
]

SPECIAL = [
    "<|endoftext|>", "<|im_start|>user\nhi<|im_end|>", "<|start|>assistant<|channel|>final<|message|>hi<|return|>",
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>", "[INST] hi [/INST]", "<s>hi</s>",
    "<｜begin▁of▁sentence｜><｜User｜>hi<｜Assistant｜>", "<think>\nhm\n</think>\n\nyes", "<tool_call>{\"name\": \"f\"}</tool_call>",
    "[TOOL_CALLS][{\"name\": \"f\"}]", "<|fim_prefix|>def f(<|fim_suffix|>):<|fim_middle|>", "<|reserved_special_token_5|>",
    "<bos><start_of_turn>user\nhi<end_of_turn>", "\n\nHuman: hi\n\nAssistant:", "<unk><pad>[UNK][CLS][SEP][MASK]", "<0x0A><0xE2>",
    "text before<|endoftext|>text after", "<|endofprompt|>", "<|vision_start|><|image_pad|><|vision_end|>", "[IMG][IMG_BREAK][IMG_END]",
    "<| endoftext |>", "<|endoftext", "|>", "<|python_tag|>print(1)<|eom_id|>", "</s></s></s>", "▁▁hello▁world", "Ġhello Ċ",
]

WHITESPACE = [
    "", " ", "  ", "   a", "a ", "a  ", "a  b", "a   b", "\n", "\n\n", "\n\n\n\n", "a\n", "a\n\n", "a\n\nb", "a \n b", "a  \n  b",
    "\r\n", "a\r\nb\r\n", "\r\n\r\n\r\n", "\r\r\n\n", "\t", "\t\t\tx", "\t \t x", "a\tb\tc", " \n \n \n", "  \n\n  \n\n  x", "\n x", "\n  x", "\n\tx",
    "x\n\n\n\n\n\n\ny", "   \n", "   \n   ", "!\n", "!\n\n\n", "! \n", "a!\n\nb", "//\n/\n//\n", ".\n/\n/path", "{\n}\n", ");\n\n\n", "?!\r\n\r\n/",
    "\u00a0", "a\u00a0b", "a\u00a0\u00a0b", "\u3000", "\u3000\u3000字", "字\u3000字", "a\u2003b\u2009c", "\u2028", "a\u2028b\u2029c", "\u0085x", "\u000b\u000c",
    " 1", "  1", "   12", "1 2  3   4", " \u00e9", "  \u00e9", "  字", "字  字", " ,", "  ,", ",  ,", "' s", " 's", "  's", "  \u0301", "\u00a0,", " \u00a0 x",
]

NUMBERS = [
    "0", "7", "42", "100", "1234", "12345", "123456", "1234567", "1234567890", "3.14159265358979", "1,234,567.89", "1.234.567,89", "1e-9", "-273.15",
    "0x1F", "0b1010", "2026-02-11", "11/02/2026", "08:15:30", "+49 30 123456", "v1.2.3-rc.4", "10%", "$5.00", "€1.000", "¥1000", "1st 2nd 3rd",
    "4 000 000", "1_000_000", "00012", "9" * 37, "²³¹", "x²+y³", "½¾", "١٢٣٤٥", "१२३४५", "１２３４５", "一二三四五", "Ⅳ Ⅻ", "12abc34def", "a1b2c3", "3×4=12",
]

INVISIBLE = [
    "a\u200bb", "\u200b\u200b\u200b", "zero\u200cwidth\u200djoin", "\ufeffstart", "a\u2060b", "soft\u00adhyphen", "\u200eleft\u200fright", "\u202eevil\u202c",
    "\u2066isolate\u2069", "e\u0301 vs \u00e9", "A\u030angstro\u0308m", "Z\u0351\u0363a\u0310l\u0334g\u0321o\u0328", "\u1112\u1161\u11ab\u1100\u1173\u11af",
    "\ud55c\uae00", "\ufb01 \ufb02 \ufb03", "\u212b \u2126 \u212a", "\u0958 \u0915\u093c", "nul\u0000nul", "\u0001\u0002\u001f\u007f", "\ue000\uf8ff", "\ufffd\ufffd",
    "\u0e33\u0e4d\u0e32", "\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd", "\u0628\u0650\u0633\u0652\u0645\u0650", "עברית english עברית 123", "عربي (english) عربي 456",
    "\u0300start", "x\u0338=y\u20d7", "\u0644\u0627 \ufefb", "\u17d2\u1780\u17d2\u1781", "\u0f40\u0f0b\u0f41", "\u1000\u1039\u1000", "\U0001F3FB", "\U000E0041\U000E0042", "\u00df \u1e9e \u0131 \u0130",
    "don\u2019t \u2018quote\u2019 \u201cquote\u201d \u2014 \u2026", "DON'T I'M YOU'RE WE'LL it'S", "'tis 'twas rock'n'roll", "'s's'll'LL'Re", "O'Neill's", "x'd've", "l\u2019\u00e9t\u00e9",
    "camelCaseHTTPServerXMLParser", "SCREAMING_SNAKE_CASE", "kebab-case-name", "\u01c5 \u01c8 \u01cb \u02b0\u02b2 \u00aa\u00ba", "iPhone eBay McDonald", "\u00c9COLE \u00c9cole \u00e9COLE", "\u041f\u0420\u0418\u0412\u0415\u0422 \u041f\u0440\u0438\u0432\u0435\u0442 \u043f\u0420\u0418",
    "hello\u4e16\u754chello", "\u4e16\u754c123\u4e16\u754c", "\u30ab\u30bf\u30ab\u30ca\u30fb\u3072\u3089\u304c\u306a", "\u30fc\u30fc\u30fc", "\u3005\u3006\u3007", "\uff21\uff22\uff43\uff44", "\uff71\uff72\uff73\uff9e", "\u4e2d\u6587\uff0c\u4e2d\u6587\u3002", "\u9fa6\u9fff\u3400\U00020000",
]

RUNS = [
    "a" * 700, "ab" * 300, "abc" * 200, "A" * 300, "aA" * 150, "z" * 1100, " " * 700, "\n" * 600, " \n" * 200, "\t" * 300, "\r\n" * 150, "0" * 500, "0123456789" * 40,
    "." * 500, "-" * 300, "=" * 257, "#" * 129, "!?" * 120, "/" * 200, "\n/" * 60, "\\n" * 80, "'" * 90, "'s" * 90, "_" * 200, "(" * 100 + ")" * 100, "{}" * 100,
    "é" * 200, "ß" * 150, "я" * 200, "字" * 200, "あ" * 200, "한" * 150, "ก" * 150, "ا" * 200, "🙂" * 150, "👩‍💻" * 30, "\u200b" * 100, "\u0301" * 120, "e\u0301" * 90, "\u00a0" * 150, "\u3000" * 150,
    "x" + " " * 300 + "y", "x" + "\n" * 300 + "y", " " * 299 + "\n", "!" + "\n" * 299, "a" * 300 + "'s", " " + "b" * 300, "," + "b" * 300, "中" * 100 + "a" * 100 + "中" * 100,
    "qwrtpsdfghjklzxcvbnm" * 40, "ACGT" * 120, "the" * 150, "hello" * 120, "lorem" * 90 + "9" * 90,
]

ALPHABETS = {
    "mixed": "abcdefghij ABCDEF 0123 .,;:!?'\"-_/\\()[]{}<>@#$%^&*+=~`|\n\r\t éüñßçøł жыэЖ 中文字漢 あアー 한글 אב עברית العربية हिन्दी ไทย 🙂🚀👍🏽 \u200b\u200d\u00a0\u3000\u0301\u0308 ½²Ⅳ",
    "letters": "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "space": "  \n\r\t a1.\u00a0\u3000'",
    "punctuation": " !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\n/¿¡«»—…“”‘’，。、",
    "marks": "aeiouAEIO \u0300\u0301\u0308\u0327\u093c\u0e31\u05b0\u064b",
    "digits": "0123456789 ,.٠١२३４５²½",
}


def texts():
    """(kind, text) pairs; a kind starts with a group ("prose", "code", ..)."""
    rng = random.Random(20260211)
    for language, sentences in SENTENCES.items():
        for sentence in sentences:
            yield f"prose/{language}", sentence
        for length in (3, 6, 12):
            yield f"paragraph/{language}", joiner(language).join(rng.choice(sentences) for _ in range(length))
    for language, code in CODE.items():
        yield f"code/{language}", code
        lines = code.splitlines(keepends=True)
        yield f"code/{language}", "".join(rng.choice(lines) for _ in range(12))
    everything = [sentence for sentences in SENTENCES.values() for sentence in sentences]
    for _ in range(30):
        yield "mixed/languages", rng.choice([" ", "\n", "\n\n", " / "]).join(rng.choice(everything) for _ in range(4))
    for _ in range(20):
        yield "mixed/code", rng.choice(everything) + "\n\n```\n" + rng.choice(list(CODE.values())) + "```\n" + rng.choice(everything)
    for kind, listed in (("emoji", EMOJI), ("special", SPECIAL), ("whitespace", WHITESPACE), ("numbers", NUMBERS), ("invisible", INVISIBLE), ("run", RUNS)):
        for text in listed:
            yield kind, text
    for name, alphabet in ALPHABETS.items():
        for _ in range(30):
            yield f"random/{name}", "".join(rng.choice(alphabet) for _ in range(rng.randint(1, 160)))


def joiner(language):
    return "" if language in ("zh", "zh-TW", "ja") else " "
