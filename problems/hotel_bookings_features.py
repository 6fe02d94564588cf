"""Columns of our own for the hotel bookings, each of one booking alone."""

import numpy as np

MONTHS = ("January", "February", "March", "April", "May", "June", "July")
MONTHS += ("August", "September", "October", "November", "December")


def make(rows):
    """Make what the columns say together: the stay as a whole, its guests, its price, its season."""
    nights = rows["stays_in_weekend_nights"] + rows["stays_in_week_nights"]
    guests = rows["adults"] + rows["children"].fillna(0) + rows["babies"]
    before = rows["previous_cancellations"] + rows["previous_bookings_not_canceled"]
    month = rows["arrival_date_month"].map({name: number for number, name in enumerate(MONTHS)})
    arrival = month * 30.4 + rows["arrival_date_day_of_month"]
    booked = (arrival - rows["lead_time"]) / 365 * 2 * np.pi
    return rows[[]].assign(
        nights=nights,
        guests=guests,
        lead_time_log=np.log1p(rows["lead_time"]),
        price_a_guest=rows["adr"] / guests.where(guests > 0),
        price_of_the_stay=rows["adr"] * nights,
        cancelled_before=rows["previous_cancellations"] / before.where(before > 0),
        arrival_day=arrival,
        booked_in_winter=np.cos(booked),
        booked_in_spring=np.sin(booked),
        from_here=rows["country"] == "PRT",
        agent_and_room=rows["agent"].astype(str) + " " + rows["reserved_room_type"],
        segment_and_deposit=rows["market_segment"] + ", " + rows["customer_type"] + ", " + rows["deposit_type"],
    )
