"""The honest benchmark: coordinator, referee, candidate and baseline in processes of their own.

A call's time is the interval between the referee revealing the input and seeing the finished
output, on the referee's clock; nothing that a candidate reports is believed.
"""
