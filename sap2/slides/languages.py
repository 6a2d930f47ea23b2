"""Detection of a text's language from its function words, and the languages with known word frequencies."""

import re
from collections import Counter
from functools import lru_cache

__all__ = ["check_language", "guess_language", "languages", "script_without_words", "without_script"]

# The commonest words of each language, from wordfreq's lists.
FUNCTION_WORDS = {
    "bg": """
        на и в да е от за се с не си че по ще са това като а ми но до го много най има му ако към може съм ти ли
        само няма след през аз които г при ви или как какво той""",
    "ca": """
        de la a i que el l d en per del un les els una no amb va és al es ha com més dels s hi o ser aquest si
        però tot fer seu aquesta molt als ja ho van seva també ens han""",
    "cs": """
        a se v na je to že s z si do jsem ale o i tak pro ve za co k jako jak po by už od jsou mi když mě jen nebo
        byl bude já u má jsme které ty jeho který až není""",
    "da": """
        i og er af det at en til på jeg har for ikke med den der de du kan som så et var vi om han fra men skal
        ved vil også være hvor nu man hvis sig efter mig eller her hvad ud alle""",
    "de": """
        die der und in das ich ist nicht zu den von mit es ein auf für im sie eine sich auch dem des als er an
        dass so bei wie aber aus hat sind nach noch wir du war nur wenn oder wird was werden""",
    "el": """
        και το να του η με την τησ για ο που τα από σε δεν θα τον είναι στο στην οι των μου τη τουσ μασ τισ ότι
        μια ένα στη ήταν τι σασ σου στα αν στον έχει αλλά αυτό ή στισ κι όταν""",
    "en": """
        the to and of a in i is for that you it on with this was be as are have at he not by but from my or we an
        your all so his they me if one can will just like about up out""",
    "es": """
        de la que el en y a los no un se por es del las con una para lo su al como me más si pero te o mi le este
        sus esta todo ya ha cuando yo ser son sin hay está fue tu""",
    "fi": """
        ja on ei että se oli mutta ole kun niin myös hän jos ovat voi nyt sen kuin tai en joka olla sitä mitä vain
        jo kanssa tämä sitten kaikki olisi ollut vielä kyllä siitä ne suomen hyvä sekä jälkeen miten mukaan paljon
        saa olen""",
    "fr": """
        de la le et l à les est en des d un que a pas une du il pour dans je qui c au ce sur qu par on ne plus
        avec j n mais se vous s ça tu elle son y ai ou""",
    "he": """
        את של לא על זה הוא אני כל עם מה גם לי אם היה יש אבל היא או כי יותר רק אין ב אחד אל בין הם ישראל לו שלי אתה
        כמו כך לך עד הזה שלא שם אותו אז ה זו טוב שהוא כדי""",
    "hu": """
        a az és nem hogy egy is de meg csak ha van volt ez vagy már még én kell el jó ki azt most akkor mint ezt
        minden mert magyar nagyon így olyan itt mi sem lesz lehet vagyok majd es nagy úgy be nincs""",
    "id": """
        yang dan di ini dari untuk dengan itu bisa aku ada tidak akan adalah dalam pada kita orang ke juga anda
        dia saya ya kamu lebih apa sudah mereka tapi karena atau menjadi tak baik jadi harus satu lagi seperti
        oleh banyak jika hanya kami""",
    "is": """
        og í á að er sem til en við af hann um ekki var fyrir með ég eru frá það þar því eða eftir hún svo hefur
        vera þá verið þegar hafa þess úr út upp ef eins nú sé þú fram sér hér þeir""",
    "it": """
        di e che il la a in non un per è del l i una le si con della da sono ma al ha come più dei se nel mi alla
        anche lo gli delle o questo ho ci su ad dal solo essere io""",
    "lt": """
        ir kad į su iš yra tai kaip ar o buvo savo tik bet nuo ne apie taip m lietuvos kai labai dėl per dar gali
        jau po iki jis bei jei už jo pat to būti kas mūsų turi prie bus metų nes jos""",
    "lv": """
        un ir ar par ka no kā uz kas arī vai bet es tā nav to tas man ja lai bija ko pēc tikai tad līdz kad var
        jau pie tu latvijas vēl būs jo ļoti gan ne savu tev viņš gada tik nu šo""",
    "mk": """
        на и во да се од за е со не го ќе што дека ги како ја тоа а кој кои си по ми до ти многу но или само има
        кога беше сите тој ако така може која ова јас година еден нема сум""",
    "nb": """
        i og er det å på som til en av for ikke med har jeg at de du om den så vi fra var kan et men han seg dette
        noe skal noen ble vil bare også ut da nå hva etter eller meg være""",
    "nl": """
        de van het een en in is op ik dat voor je te met niet zijn die als er maar om aan hij ook ze door naar uit
        bij dan dit was we wat heeft of over nog deze hebben kan meer zo al geen""",
    "pl": """
        w i nie na się to z do jest że o jak a ale co tak za od po dla tym czy przez tego są ma tylko już mi mnie
        ze może bo ja ten oraz bardzo będzie być jego by sobie ich mam jeśli""",
    "pt": """
        de a o que e do em da é para não um uma com no se na por os eu como as mais dos mas foi ao me você ser seu
        sua tem são das ou à ele muito isso já nos também quando está""",
    "ro": """
        de în și a la să din o pe cu nu mai un este că care pentru se au ce fost ca al am sunt fi si va s lui dar
        sau e sa dacă după i ne ar le poate prin cum când ale""",
    "ru": """
        в и на не с что я по а как из это за для о к но то у его он от все так же мы до ты только был если когда
        было мне меня уже еще бы или их они при будет время кто""",
    "sh": """
        je u i da se na od za su a ne sa iz to kao o što godine koji kako bi ali nije još po s do sve bio ili sam
        će koja samo te biti više koje kada ako tako bilo sad smo mi""",
    "sk": """
        a v sa na je to z že s ako aj o si do som ale po za tak od čo už bol by pre sú ak k alebo nie sme ich len
        vo aby keď ktorý ktoré pri má jeho bola bude ktorá až""",
    "sl": """
        je in v na se da so za ki pa z tudi lahko s ne kot po še iz bi bo od tako to pri ali o če že bil do ni med
        vse jih ko kar ga si smo bila leta več sem tem""",
    "sv": """
        är det att och i jag på en inte som för med har av om du så till den de ett kan vi men man var ska när nu
        vad från här mig bara eller han då hur kommer alla vill sig vara där får""",
    "tr": """
        ve bir bu için de da çok ile ne daha en gibi olarak her kadar o olan ben var ama sonra ki iyi yok ya değil
        sen büyük yeni güzel sadece zaman ilk iki mi hiç ise oldu bile nasıl şey benim böyle son tek""",
    "uk": """
        в на не і у з що та до це за а я як про для від так україни але він його все то є ви по ми й ще які під
        вже коли якщо або року було вони із мене щоб мені ж тут""",
    "vi": """
        là và có của được một các không trong cho người này với ở đã thể để như những đến khi làm sẽ từ ra công họ
        tại về vào đó cũng thành lại đầu chỉ năm sự tôi bị học phải chính ngày số""",
    "ar": """
        في من على أن لا إلى و ما عن هذا مع التي كل هذه أو هو كان الذي ذلك بعد الله لم بين ان كانت يا حتى قبل قد هي
        إن كما أي أيضا حيث أنه اليوم خلال عليه غير وهو بعض تم علي إذا""",
    "fa": """
        و به در از که این با را است رو من تو برای بود هم تا یک ها ایران شده ما آن شد می یا بر شما همه سال کرد خود
        هر یه چه های نه کار باید دو پس اما اون ای فقط دست""",
    "hi": """
        के है में की से और को का हैं पर भी एक तो नहीं ने कर ही हो लिए कि इस था यह गया किया जो ये आप करने रहे साथ
        अपने रहा क्या अब कुछ कोई थे दिया तक थी भारत बाद वो हम""",
}
SCRIPTS = {  # scripts of languages that need a segmenter
    "ja": re.compile("[\u3040-\u30ff]"),
    "zh": re.compile("[\u3400-\u9fff]"),
    "ko": re.compile("[\uac00-\ud7af]"),
    "th": re.compile("[\u0e00-\u0e7f]"),
}
WORD = re.compile(r"[^\W\d_]+")
MIN_SHARE = 0.08  # minimum share of a text's words that are function words of its language
MIN_HITS = 5  # minimum number of function words
MAX_WORDS = 20_000  # words of a text that are examined


def languages() -> list[str]:
    """Return the codes of the languages with known word frequencies."""
    from wordfreq import available_languages

    return sorted(set(available_languages()) - set(SCRIPTS))


def check_language(language: str) -> None:
    """Check that there are word frequencies for a language. Raises: InputError."""
    from sap2.errors import InputError

    if language not in (known := languages()):
        raise InputError(f"--language {language}: no word frequencies for it; expected one of {', '.join(known)}")


def guess_language(text: str) -> str | None:
    """Guess the language of a text; None = too few words, or an unknown language.

    >>> guess_language("Nous proposons une méthode pour résumer et interroger des logs, et les tests sur le log")
    'fr'
    >>> guess_language("Zorvan 2019")
    """
    words = [word.casefold() for word in WORD.findall(text)[:MAX_WORDS]]
    counts = Counter(words)
    scores = {
        language: sum(counts[word] * weight for word, weight in known.items()) for language, known in _weights().items()
    }
    best = max(scores, key=lambda language: scores[language])
    hits = sum(counts[word] for word in _weights()[best])
    return best if hits >= MIN_HITS and hits >= MIN_SHARE * len(words) else None


def script_without_words(text: str) -> str | None:
    """Return the language of a text that is mostly in a script that needs a segmenter, else None.

    >>> script_without_words("할인점 주유 LPG"), script_without_words("Zorvan 주유")
    ('ko', None)
    """
    letters = sum(map(str.isalpha, text))
    for language, script in SCRIPTS.items():
        if letters and len(script.findall(text)) > (0.1 if language == "ja" else 0.5) * letters:
            return language
    return None


def without_script(text: str, language: str) -> str:
    """Remove the letters of a language's script from a text, which `script_without_words` returned.

    >>> without_script("할인점 by Zorvan", "ko")
    ' by Zorvan'
    """
    return SCRIPTS[language].sub("", text)


@lru_cache(maxsize=1)
def _weights() -> dict[str, dict[str, float]]:
    """Return the weights of function words by language; a word of several languages weighs less in each."""
    shared = Counter(word for words in FUNCTION_WORDS.values() for word in words.split())
    return {
        language: {word: 1 / shared[word] ** 0.5 for word in words.split()}
        for language, words in FUNCTION_WORDS.items()
    }
