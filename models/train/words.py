"""Words that the tasks are made of. Everything that nano can name is in here."""

NAMES = (
    "Anna Tom Maria Peter Lena Omar Sara Jan Mia Ali Nora Ben Eva Leo Zoe Max Ida Sam Rosa Kai Ella Finn Lucy Hugo Amir "
    "Clara David Emma Felix Grace Henry Iris Jack Kira Luis Nina Oscar Paula Ravi Sofia Theo Uma Victor Wendy Yara Adam"
).split()
CITIES = (
    "Oslo Rome Paris Berlin Madrid Vienna London Lisbon Dublin Athens Cairo Tokyo Delhi Lima Quito Boston Prague Warsaw "
    "Zurich Geneva Munich Milan Turin Porto Seville Bergen Riga Tallinn Sydney Toronto Havana Nairobi Accra Dakar Hanoi Seoul"
).split()
JOBS = (
    "baker doctor teacher farmer pilot nurse painter singer writer driver lawyer cook dentist gardener plumber tailor "
    "actor judge sailor builder barber chemist clown fisher guard hunter miner poet potter"
).split()
ANIMALS = "dog cat horse rabbit parrot hamster turtle goat snake duck fox owl bear wolf mouse frog".split()
FOODS = (
    "apples pears soup bread rice pasta cheese fish beans cake plums grapes salad pizza honey nuts eggs carrots melons "
    "cherries lemons peas mangoes onions"
).split()
INSTRUMENTS = "piano violin guitar flute drum harp trumpet cello organ banjo".split()
SPORTS = "tennis football chess golf hockey rugby swimming rowing skiing boxing judo sailing".split()
PET_NAMES = "Rex Bella Fido Luna Rocky Daisy Coco Milo Simba Nala Pip Toby Ruby Oreo Ginger Shadow Biscuit Pepper".split()
THINGS = "key book lamp phone ring coin map pen cup hat ball box watch letter ticket bag clock shoe spoon candle".split()
PLACES = (
    "kitchen garden garage bedroom cellar attic office library hall bathroom drawer cupboard car shed balcony basement"
).split()
COLOURS = "red green blue yellow purple orange black white brown pink grey".split()

# Short words for reading, copying and sorting: no two spell alike.
SHORT_WORDS = (
    "ant apple arm art axe baby back bag ball band bank bath bean bear bed bee bell belt bike bird boat bone book boot "
    "bowl box boy bread bridge bus cake camp candle cap car card cart cat chair cheese clock cloud coat coin cold corn cow "
    "crab cup dance desk dish dog door dress drum duck ear earth east egg eye face farm fire fish flag floor flower foot "
    "fork fox frog fruit game gate girl glass goat gold grape grass green hair hand hat head heart hill home honey horse "
    "hotel house ice ink iron island jam jar juice jump key king kite knee knife lake lamp leaf leg lemon letter light lion "
    "lock map milk mint money moon moth mouse mouth music nail neck nest night north nose nut oak ocean oil onion open "
    "owl page paint palm pan paper park peach pear pen piano pie pig pin pipe plane plant plate pond pool queen rabbit "
    "rain ring river road rock roof room root rope rose salt sand school sea seed shell ship shirt shoe shop silk silver "
    "sky snow soap sock song soup south spoon star stone stop storm sugar sun table tea tent tiger time tin toast tooth "
    "tower town toy train tree truck van vase wall water wave well west wheel wind window wine wing winter wolf wood wool "
    "yard year zebra zero zone"
).split()

SHAPES = "circle square triangle star cross diamond heart ring".split()
DRAWN_COLOURS = {
    "red": (214, 40, 40),
    "green": (38, 150, 60),
    "blue": (38, 84, 210),
    "yellow": (240, 200, 20),
    "purple": (130, 50, 160),
    "orange": (243, 126, 20),
    "black": (25, 25, 25),
    "pink": (240, 130, 180),
}
POSITIONS = (
    ("in the top left", "at the top", "in the top right"),
    ("on the left", "in the middle", "on the right"),
    ("in the bottom left", "at the bottom", "in the bottom right"),
)


def plural(shape: str) -> str:
    return {"cross": "crosses"}.get(shape, shape + "s")
