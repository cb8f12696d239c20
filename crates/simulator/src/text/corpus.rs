//! The sentences. Some have characters of two, three and four bytes, as real answers do.

/// How an answer begins.
pub(super) const OPENINGS: &[&str] = &[
    "Good question.",
    "Happy to help! 👋",
    "Let me think about that.",
    "Right, let’s look at it.",
    "Thanks for asking.",
    "Of course.",
];

/// What an answer is about; a topic is read from its first sentence to its last.
pub(super) const TOPICS: &[&[&str]] = &[
    &[
        "Tea and coffee left China and Ethiopia with merchants, and took their names along.",
        "Where tea travelled by land it is called «чай», «chai» or «çay»; where it went by sea it became «thé» and “tea”.",
        "The word on your cup still tells by which road it came. ☕",
    ],
    &[
        "A tide is not water rushing to and fro across an ocean.",
        "It is a low, very wide wave that runs around each basin, about every twelve hours and twenty-five minutes.",
        "In the Bay of Fundy its period fits the bay’s own, like a push that fits a swing — and the sea rises by 16 metres. 🌊",
    ],
    &[
        "Bakers keep a sourdough alive for decades, yet no cell in it is older than a few days.",
        "What lasts is the balance: yeasts that bear acid, and bacteria that make it.",
        "Feed it at 25 °C and it doubles in about four hours; in the cold it takes half a day and tastes better.",
    ],
    &[
        "The first cable under the Atlantic carried a word in about a minute, and it died within three weeks.",
        "Its successor of 1866 was thicker, was tested mile by mile, and was asked politely instead of with 2000 volts.",
        "Patience turned out to be a matter of engineering. 🛠️",
    ],
    &[
        "Swifts sleep in the air.",
        "Some have been followed for ten months without one landing: they eat, drink and doze on the wing.",
        "Before dusk and before dawn they climb to 2½ kilometres, probably to see what the weather is going to be.",
    ],
    &[
        "A map of the whole Earth on paper has to lie about something.",
        "Mercator kept the angles, so that a course is a straight line, and let Greenland grow to the size of Africa.",
        "Gall and Peters kept the areas and bent the shapes. Every map is an answer to some question, so ask it which one. 🗺️",
    ],
    &[
        "Glass is neither as old nor as liquid as they say: old panes are thick at one edge because of how they were spun.",
        "At room temperature it would take longer than the age of the universe — 宇宙の年齢 — to sag visibly.",
        "What does flow, slowly, is the lead around it.",
    ],
    &[
        "Bell ringers in England do not play tunes; they walk through permutations.",
        "With seven bells there are 7! = 5040 orders, and ringing each once takes some three hours.",
        "The methods were worked out by 1668, a century before mathematicians called such things groups. 🔔",
    ],
];

/// How an answer ends.
pub(super) const CLOSINGS: &[&str] = &[
    "Shall I go on?",
    "Ask me anything about it. 🙂",
    "I hope that helps.",
    "Tell me if you want it shorter.",
    "There is more where that came from…",
];
