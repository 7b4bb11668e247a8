"""The question: does one task help the other, on these data?"""
