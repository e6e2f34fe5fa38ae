"""Can a world model's uncertainty be trusted: does it rank errors, is it of the right scale, does it foresee falls?"""
