"""The vocabulary of the sample data: invented companies, everyday names, no real person."""

from __future__ import annotations

from typing import Final


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FIRST_NAMES: Final = _words(
    """
    Ada Alba Amir Anders Anika Arlo Asha Basil Bea Bela Bruno Carmen Cato Chidi Clara Dalia
    Dario Demi Edda Elio Emre Enzo Esme Fadi Faye Felix Fern Gaia Gita Gwen Hana Hector Hiro
    Ida Ilan Imani Ines Ivo Jana Jasper Juno Kaito Kamal Kira Lars Leila Lior Lotte Luca
    Mael Maren Mika Mina Nadia Nico Noor Odin Olga Omar Otis Paloma Petra Priya Quinn Rafael
    Rhea Rosa Runa Sami Selma Sol Stella Tarek Tessa Theo Uma Vera Viggo Wanda Wren Xenia
    Yara Yusuf Zane Zora
    """
)
LAST_NAMES: Final = _words(
    """
    Abbot Adler Albright Archer Ashdown Baker Barrow Beck Birch Blackwood Bloom Bright Brook
    Cartwright Castell Chandler Clay Cliff Cooper Croft Dale Dove Drake Elm Falk Fairweather
    Fenn Fisher Fletcher Flint Forge Frost Gale Glover Goldsmith Greenfield Hale Harbor Hart
    Hawthorn Heath Holt Hunter Iver Joiner Kestrel Lake Lark Linden Locke Marsh Mason Meadow
    Miller Moor Nightingale North Oakes Orchard Page Park Pike Pond Potter Quill Ranger Reed
    Rivers Rook Rowan Sawyer Shore Slate Smith Snow Sparrow Stone Summers Tanner Thorne
    Tiller Underhill Vale Wainwright Walker Warden Weaver Webb West Wheeler Wild Winter Wolf
    Wood Wright Yarrow
    """
)
_CITIES = """
Albany, NY; Albuquerque, NM; Atlanta, GA; Austin, TX; Baltimore, MD; Boise, ID; Boston, MA;
Buffalo, NY; Charlotte, NC; Chicago, IL; Cincinnati, OH; Cleveland, OH; Columbus, OH; Dallas,
TX; Denver, CO; Des Moines, IA; Detroit, MI; El Paso, TX; Fresno, CA; Hartford, CT; Houston, TX;
Indianapolis, IN; Jacksonville, FL; Kansas City, MO; Las Vegas, NV; Los Angeles, CA; Louisville,
KY; Memphis, TN; Miami, FL; Milwaukee, WI; Minneapolis, MN; Nashville, TN; New Orleans, LA; New
York, NY; Oakland, CA; Oklahoma City, OK; Omaha, NE; Orlando, FL; Philadelphia, PA; Phoenix, AZ;
Pittsburgh, PA; Portland, OR; Providence, RI; Raleigh, NC; Richmond, VA; Sacramento, CA; Salt
Lake City, UT; San Antonio, TX; San Diego, CA; Seattle, WA; St. Louis, MO; Tampa, FL; Tucson,
AZ; Tulsa, OK
"""
CITIES: Final = tuple(
    (city, state)
    for city, _, state in (one.partition(", ") for one in " ".join(_words(_CITIES)).split("; "))
)
SKILLS: Final = {
    "Technology": ("SQL", "Python", "Java", "Go", "Kubernetes", "Terraform", "React", "Spark"),
    "Healthcare": (
        "Triage",
        "EHR",
        "Phlebotomy",
        "ICU",
        "Pediatrics",
        "Billing",
        "Radiology",
        "BLS",
    ),
    "Finance": ("GAAP", "Audit", "Payroll", "Tax", "Forecasting", "Treasury", "Excel", "SAP"),
    "Logistics": (
        "Dispatch",
        "Forklift",
        "Inventory",
        "Customs",
        "Routing",
        "WMS",
        "CDL",
        "Packing",
    ),
    "Manufacturing": ("CNC", "Welding", "Lean", "PLC", "QA", "CAD", "Assembly", "Maintenance"),
    "Hospitality": (
        "Catering",
        "Front desk",
        "Events",
        "Barista",
        "Concierge",
        "POS",
        "Menus",
        "Tours",
    ),
}
ROLES: Final = {
    "Technology": ("Data Engineer", "Site Reliability Engineer", "Web Developer", "QA Engineer"),
    "Healthcare": ("Registered Nurse", "Medical Coder", "Lab Technician", "Care Coordinator"),
    "Finance": ("Accountant", "Payroll Specialist", "Financial Analyst", "Internal Auditor"),
    "Logistics": ("Dispatcher", "Warehouse Lead", "Inventory Planner", "Truck Driver"),
    "Manufacturing": ("Machinist", "Welder", "Line Supervisor", "Process Engineer"),
    "Hospitality": ("Event Manager", "Guest Services Agent", "Line Cook", "Tour Guide"),
}
CLIENT_STEMS: Final = _words(
    """
    Alder Basalt Cinder Cobalt Copperleaf Driftwood Ember Fathom Foxglove Granite
    Harborlight Indigo Juniper Keystone Larkspur Meridian Northgate Opal Pinecrest Quarry
    Redwater Saltmarsh Thistle Umber Violet Westwind Yellowtail Zephyr
    """
)
CLIENT_KINDS: Final = (
    "Systems",
    "Health",
    "Partners",
    "Freight",
    "Works",
    "Hotels",
    "Labs",
    "Group",
)
STATUSES: Final = {
    "available": 45,
    "placed": 28,
    "interviewing": 15,
    "inactive": 10,
    "blocked": 2,
}
MAIL_DOMAINS: Final = ("example.com", "example.org", "example.net")
